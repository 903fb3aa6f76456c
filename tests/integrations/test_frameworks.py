"""The same verbs in Starlette and in aiohttp."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import create_autospec

import pytest
from aiohttp import ClientConnectionResetError, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from couchmodel import Connection, NotFoundError, Repository
from couchmodel.engine import Database
from couchmodel.integrations import aiohttp as on_aiohttp
from couchmodel.integrations import starlette as on_starlette
from tests.integrations.conftest import Client
from tests.integrations.models import Dish, json_of

PNG = b"\x89PNG" + bytes(range(100))


class Reply:
    """An answer of either framework."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return from_json(self.body)


Ask = Callable[..., Any]


def starlette_app(database: Database) -> Starlette:
    async def change(request: Request) -> Response:
        dish = await on_starlette.found(request, Dish, if_match_required="strict" in request.url.path)
        await dish.update(await on_starlette.read_patch(request, Dish))
        return on_starlette.respond(dish)

    async def create(request: Request) -> Response:
        dish = await on_starlette.read_create(request, Dish)
        await dish.save()
        return on_starlette.respond(dish, 201)

    async def names(request: Request) -> Response:
        return JSONResponse(type(on_starlette.session(request)).__name__)

    async def fail(request: Request) -> Response:
        raise ZeroDivisionError

    async def missing(request: Request) -> Response:
        raise NotFoundError("missing", path="/kitchen/a%20pie")

    app = Starlette(
        routes=[
            *on_starlette.crud_routes(Dish, "/dishes"),
            *on_starlette.crud_routes(Dish, "/tenant", repository=lambda request: Repository(Dish, database)),
            Route("/by-hand/{id}", change, methods=["PATCH"]),
            Route("/strict/{id}", change, methods=["PATCH"]),
            Route("/by-hand", create, methods=["POST"]),
            Route("/session", names),
            Route("/fail", fail),
            Route("/missing", missing),
        ]
    )
    on_starlette.add_problem_details(app)
    return app


def aiohttp_app(database: Database, couch: Connection) -> web.Application:
    async def change(request: web.Request) -> web.Response:
        dish = await on_aiohttp.found(request, Dish, if_match_required="strict" in request.path)
        await dish.update(await on_aiohttp.read_patch(request, Dish))
        return on_aiohttp.respond(dish)

    async def create(request: web.Request) -> web.Response:
        dish = await on_aiohttp.read_create(request, Dish)
        await dish.save()
        return on_aiohttp.respond(dish, 201)

    async def names(request: web.Request) -> web.Response:
        return web.json_response(type(on_aiohttp.session(request)).__name__)

    async def fail(request: web.Request) -> web.Response:
        raise ZeroDivisionError

    async def missing(request: web.Request) -> web.Response:
        raise NotFoundError("missing", path="/kitchen/a%20pie")

    async def repository(request: web.Request) -> Repository[Dish]:
        return Repository(Dish, database)

    app = web.Application()
    app[on_aiohttp.COUCH] = couch
    on_aiohttp.add_problem_details(app)
    app.add_routes(on_aiohttp.crud_routes(Dish, "/dishes"))
    app.add_routes(on_aiohttp.crud_routes(Dish, "/tenant", repository=repository))
    app.add_routes(
        [
            web.patch("/by-hand/{id}", change),
            web.patch("/strict/{id}", change),
            web.post("/by-hand", create),
            web.get("/session", names),
            web.get("/fail", fail),
            web.get("/missing", missing),
        ]
    )
    return app


@pytest.fixture(params=["starlette", "aiohttp"])
async def ask(
    request: pytest.FixtureRequest,
    bind: Callable[..., Any],
    client_of: Client,
    couch: Connection,
    database: Database,
) -> AsyncIterator[Ask]:
    """A function that sends a request to an application of a framework."""
    await bind(Dish)
    if request.param == "starlette":
        app = starlette_app(database)
        app.state.couch = couch
        client = client_of(app)
        client._transport.raise_app_exceptions = False  # type: ignore[attr-defined]

        async def ask_starlette(method: str, url: str, **options: Any) -> Reply:
            response = await client.request(method, url, **options)
            return Reply(response.status_code, response.headers, response.content)

        yield ask_starlette
        return
    async with TestClient(TestServer(aiohttp_app(database, couch))) as on_socket:

        async def ask_aiohttp(method: str, url: str, content: Any = None, **options: Any) -> Reply:
            response = await on_socket.request(method, url, data=content, **options)
            return Reply(response.status, response.headers, await response.read())

        yield ask_aiohttp


@pytest.mark.parametrize("path", ["/dishes", "/tenant"])
async def test_documents_are_created_read_changed_and_deleted(ask: Ask, path: str) -> None:
    created = await ask("POST", path, json=json_of(rating=3))
    assert (created.status, created.headers["content-type"]) == (201, "application/json")
    address, tag = created.headers["location"], {"if-match": created.headers["etag"]}
    assert address == f"{path}/{created.json['id']}"
    assert (await ask("GET", address)).json == created.json
    assert (await ask("GET", address, headers={"if-none-match": tag["if-match"]})).status == 304
    changed = await ask("PATCH", address, json={"rating": 4}, headers=tag)
    assert (changed.status, changed.json["rating"]) == (200, 4)
    stale = await ask("PUT", address, json=json_of(), headers=tag)
    assert (stale.status, stale.json["current"]["rating"]) == (412, 4)
    assert (await ask("PUT", address, json=json_of(title="Tart"))).json["title"] == "Tart"
    listed = await ask("GET", f"{path}?rating__gte=0&sort=-rating&size=1")
    assert [each["title"] for each in listed.json["items"]] == ["Tart"]
    assert (await ask("DELETE", address)).status == 204
    assert (await ask("GET", address)).status == 404


async def test_a_body_that_is_not_encoded_as_it_says_is_a_bad_request(ask: Ask) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert (await ask("POST", "/dishes", content=b"no gzip", headers=headers)).status == 400


async def test_starlette_expects_clients_that_leave_while_they_send(bind: Callable[..., Any]) -> None:
    await bind(Dish)
    app = Starlette(routes=on_starlette.crud_routes(Dish, "/dishes"))
    received = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(received)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/dishes", "query_string": b"", "headers": headers}
    await app(scope, receive, send)
    assert sent[0]["status"] == 400


async def test_aiohttp_expects_clients_that_leave_while_they_read(bind: Callable[..., Any]) -> None:
    await bind(Dish)
    routes = {(each.method, each.path): each.handler for each in on_aiohttp.crud_routes(Dish, "/dishes")}
    writer = create_autospec(AbstractStreamWriter, instance=True)
    writer.write.side_effect = ClientConnectionResetError
    request = make_mocked_request("GET", "/dishes/_changes?since=0", writer=writer)
    handler: Any = routes["GET", "/dishes/_changes"]
    assert (await handler(request)).status == 200


async def test_photos_go_up_and_down(ask: Ask) -> None:
    address = (await ask("POST", "/dishes", json=json_of())).headers["location"] + "/photo"
    png = {"content-type": "image/png"}
    assert (await ask("PUT", address, content=PNG, headers=png)).status == 201
    assert (await ask("PUT", address, content=PNG, headers=png)).status == 204
    whole = await ask("GET", address)
    assert (whole.body, whole.headers["content-type"], whole.headers["content-length"]) == (PNG, "image/png", "104")
    part = await ask("GET", address, headers={"range": "bytes=0-3"})
    assert (part.status, part.body) == (206, PNG[:4])
    head = await ask("HEAD", address)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "104")
    assert (await ask("PUT", address, content=b"x" * 2000, headers=png)).status == 413
    assert (await ask("PUT", address, content=b"x", headers={"content-type": "text/plain"})).status == 415
    assert (await ask("DELETE", address)).status == 204


@pytest.mark.parametrize(
    ("method", "address", "options", "status"),
    [
        ("POST", "/dishes", {"json": {"title": ""}}, 422),
        ("POST", "/dishes", {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/dishes", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ("POST", "/by-hand", {"json": {"title": ""}}, 422),
        ("POST", "/by-hand", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ("PATCH", "/by-hand/nothing", {"json": {}}, 404),
        ("GET", "/dishes/nothing", {}, 404),
        ("GET", "/dishes?colour=red", {}, 422),
        ("GET", "/nowhere", {}, 404),
        ("GET", "/missing", {}, 404),
        ("PUT", "/dishes", {}, 405),
        ("GET", "/fail", {}, 500),
    ],
)
@pytest.mark.parametrize("backend", ["memory"])
async def test_errors_are_problems(ask: Ask, method: str, address: str, options: dict[str, Any], status: int) -> None:
    reply = await ask(method, address, **options)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    assert (reply.json["status"], "Zero" in str(reply.json)) == (status, False)


async def test_what_the_routes_do_can_be_done_by_hand(ask: Ask) -> None:
    created = await ask("POST", "/by-hand", json=json_of(secret="hush"))
    assert (created.status, "secret" in created.json) == (201, False)
    id, tag = created.json["id"], created.headers["etag"]
    assert (await ask("PATCH", f"/strict/{id}", json={"rating": 1})).status == 428
    assert (await ask("PATCH", f"/strict/{id}", json={"rating": 1}, headers={"if-match": tag})).json["rating"] == 1
    assert (await ask("PATCH", f"/by-hand/{id}", json={"rating": 2}, headers={"if-match": tag})).status == 412
    assert (await ask("PATCH", f"/by-hand/{id}", json={"rating": 2})).json["rating"] == 2
    assert (await ask("GET", "/session")).json == "Connection"


def test_applications_of_fastapi_do_without_the_server_of_aiohttp() -> None:
    """It takes longer to import than the integration."""
    code = "import sys, couchmodel.integrations.fastapi; print('aiohttp.web' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own words
    assert done.stdout.strip() == "False"
