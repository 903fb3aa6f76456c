"""Users of a server and their roles."""

import secrets
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from couchmodel import ConfigurationError, ConflictError, Connection, ForbiddenError, NotFoundError, UnauthorizedError
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import CouchDB, Database, SecurityDocument, User

PASSWORD = "sesame: öffne/dich"


@pytest.fixture
async def ada(couch: Connection) -> AsyncIterator[User]:
    """A user with a role."""
    ada = await couch.users.create(f"ada-{secrets.token_hex(4)}", PASSWORD, ["cook"], born=1815)
    yield ada
    with suppress(NotFoundError):
        await ada.fetch(discard_changes=True)
        await ada.delete()


async def log_in(couch: Connection, name: str, password: str) -> list[str]:
    """Begin a session. The roles that it has. Raises UnauthorizedError."""
    login = encode({"name": name, "password": password})
    return list((await couch.session.send(Request("POST", ("_session",), body=login))).json()["roles"])


async def test_a_user_can_log_in(couch: Connection, ada: User) -> None:
    assert await log_in(couch, ada.name, PASSWORD) == ["cook"]
    again = await couch.users.get(ada.name)
    assert (again.roles, again["born"], again.rev) == (["cook"], 1815, ada.rev)


async def test_users_are_listed_by_name(couch: Connection, ada: User) -> None:
    assert ada.name in [name async for name in couch.users.names()]
    assert [name async for name in couch.users.names(ada.name)] == [ada.name]


async def test_a_password_is_kept_nowhere(ada: User) -> None:
    assert "password" not in ada
    assert PASSWORD not in f"{ada!r} {dict(ada)} {vars(ada)}"


async def test_a_password_can_be_changed(couch: Connection, ada: User) -> None:
    await ada.change_password("another")
    await log_in(couch, ada.name, "another")
    with pytest.raises(UnauthorizedError):
        await log_in(couch, ada.name, PASSWORD)


async def test_roles_can_be_changed(couch: Connection, ada: User) -> None:
    await ada.change_roles({"waiter"})
    assert (await couch.users.get(ada.name)).roles == ["waiter"]
    assert await log_in(couch, ada.name, PASSWORD) == ["waiter"]


async def test_a_role_that_is_refused_is_not_kept(ada: User) -> None:
    with pytest.raises(ForbiddenError):
        await ada.change_roles(["_chef"])
    assert ada.roles == ["cook"]


async def test_a_conflict_leaves_no_password_behind(couch: Connection, ada: User) -> None:
    await (await couch.users.get(ada.name)).change_roles([])
    with pytest.raises(ConflictError):
        await ada.change_password("another")
    assert "another" not in f"{dict(ada)} {vars(ada)}"


async def test_a_name_is_given_once(couch: Connection, ada: User) -> None:
    with pytest.raises(ConflictError):
        await couch.users.create(ada.name, "another")


async def test_a_deleted_user_is_gone(couch: Connection, ada: User) -> None:
    await ada.delete()
    with pytest.raises(NotFoundError):
        await couch.users.get(ada.name)
    with pytest.raises(UnauthorizedError):
        await log_in(couch, ada.name, PASSWORD)


@pytest.mark.parametrize(("name", "password"), [("", "x"), ("x", "")])
async def test_an_empty_name_or_password_is_refused(couch: Connection, name: str, password: str) -> None:
    with pytest.raises(ConfigurationError, match=r"user|password"):
        await couch.users.create(name, password)


async def test_a_user_connects_over_http(backend: str, ada: User, url: str) -> None:
    if "@" not in url:
        pytest.skip("no server")
    server = f"http://{url.rpartition('@')[2]}"
    async with CouchDB(server, ada.name, PASSWORD) as couch:
        await couch.check_credentials()
        with pytest.raises(UnauthorizedError):
            await couch.keys()
    with pytest.raises(UnauthorizedError):
        async with CouchDB(server, ada.name, "wrong") as couch:
            await couch.check_credentials()


async def test_a_user_reads_where_they_are_a_member(couch: Connection, database: Database, ada: User, url: str) -> None:
    if "@" not in url:
        pytest.skip("no server")
    async with CouchDB(f"http://{url.rpartition('@')[2]}", ada.name, PASSWORD) as hers:
        with pytest.raises(ForbiddenError, match="You are not allowed to access this db"):
            await hers.session.get(database.path)
        async with SecurityDocument(database) as security:
            security.add_member(ada.name)
        assert [id async for id in (await hers[database.id]).akeys()] == []
