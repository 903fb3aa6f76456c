"""Requests that speak to the store as the user who sent them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from couchmodel import Connection
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import CouchDB, Database
from couchmodel.integrations.fastapi import Session, UserSessions, add_problem_details, crud_router
from tests.integrations.conftest import Client
from tests.integrations.models import Dish, json_of
from tests.integrations.test_documents import problem

DESIGN = {
    "_id": "_design/guard",
    "language": "javascript",
    "validate_doc_update": "function (doc, old, user) { if (doc.note !== user.name) throw({forbidden: 'not yours'}) }",
}


@pytest.fixture
async def users(couch: Connection, database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Two users, the first of whom is a member of the database of dishes."""
    monkeypatch.setattr(Dish, "__declared__", replace(Dish.__declared__, database=database.id))
    await couch.apply(Dish)
    names = [f"{name}-{secrets.token_hex(4)}" for name in ("ada", "bo")]
    for name in names:
        await couch.users.create(name, "secret")
    security = await database.security()
    security["members"] = {"names": names[:1], "roles": []}
    await security.save()
    await (await database.create("_design/guard", data=DESIGN)).save()
    yield names
    for name in names:
        await (await couch.users.get(name)).delete()


@pytest.fixture
def client(couch: Connection, client_of: Client) -> AsyncClient:
    """The client of an application whose users are those of the store."""
    app = FastAPI()
    app.state.couch = couch
    add_problem_details(app)
    app.add_middleware(UserSessions)
    app.include_router(crud_router(Dish), prefix="/dishes")

    @app.get("/me")
    async def who(session: Session) -> Any:
        return (await session.session.get(("_session",)))["userCtx"]["name"]

    return client_of(app)


async def sign_in(couch: CouchDB, name: str) -> dict[str, str]:
    """Return the headers of a user who has signed in."""
    request = Request("POST", ("_session",), body=encode({"name": name, "password": "secret"}))
    response = await couch.session.send(request)
    return {"cookie": response.headers["set-cookie"].partition(";")[0] + "; theme=dark"}


async def test_a_user_is_known_by_the_cookie(couch: Connection, client: AsyncClient, users: list[str]) -> None:
    headers = await sign_in(couch, users[0])
    assert (await client.get("/me", headers=headers)).json() == users[0]
    assert (await client.get("/me")).json() is None
    assert (await client.get("/me", headers={"cookie": "AuthSession=forged"})).status_code in (200, 400, 401)


async def test_the_security_of_the_database_applies(couch: Connection, client: AsyncClient, users: list[str]) -> None:
    member, stranger = [await sign_in(couch, name) for name in users]
    created = await client.post("/dishes", json=json_of(note=users[0]), headers=member)
    assert created.status_code == 201, created.text
    address = created.headers["location"]
    assert (await client.get(address, headers=member)).status_code == 200
    assert problem(await client.get(address, headers=stranger))[0] == 403
    assert problem(await client.get(address))[0] == 401
    assert problem(await client.post("/dishes", json=json_of(), headers=stranger))[0] == 403


async def test_validation_functions_apply(couch: Connection, client: AsyncClient, users: list[str]) -> None:
    member = await sign_in(couch, users[0])
    refused = await client.post("/dishes", json=json_of(note="another"), headers=member)
    assert problem(refused) == (403, "not yours.")


async def test_requests_at_the_same_time_have_their_own_users(
    couch: Connection, client: AsyncClient, users: list[str]
) -> None:
    headers = [await sign_in(couch, name) for name in users] * 5
    answers = await asyncio.gather(*(client.get("/me", headers=each) for each in headers))
    assert [each.json() for each in answers] == users * 5


async def test_a_connection_that_has_no_users_is_refused(client_of: Client) -> None:
    class Deaf:
        async def send(self, request: Any) -> Any: ...
        async def close(self) -> None: ...

    app = FastAPI()
    app.state.couch = Connection(Deaf())
    app.add_middleware(UserSessions)
    client = client_of(app)
    with pytest.raises(ValueError, match="cannot speak as a user"):
        await client.get("/")
