"""The embedded store holds the conversations that were recorded with a real CouchDB, in process and over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from couchmodel._embedded.auth.passwords import admin_line
from couchmodel._embedded.server.http import serve
from couchmodel._embedded.server.router import Router
from couchmodel._embedded.settings import Configuration
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, parse_target
from tests.replay.replay import Answer, Send, load, replay

ALIKE = [
    "all-docs",
    "attachments",
    "bulk-docs",
    "changes-feeds",
    "changes-normal",
    "conflicts",
    "database-lifecycle",
    "design-documents",
    "document-bad-input",
    "document-copy",
    "document-crud",
    "document-ids",
    "find-operators",
    "find-options",
    "indexes",
    "local-documents",
    "partitions",
    "replication-protocol",
    "revisions-diff",
    "security",
    "server-root",
    "view-map",
    "view-reduce",
    "view-reduce-new",
]


HASHED = admin_line("admin", iterations=1)


def in_process(store: Store) -> Send:
    """Puts requests to a router."""
    router = Router(store, Configuration(admins={"admin": HASHED}))

    async def send(method: str, target: str, headers: dict[str, str], body: bytes | None) -> Answer:
        path, query = parse_target(target)
        lowered = {name.lower(): value for name, value in headers.items()}
        answer = await router.authenticate_and_answer(Request(method, path, query, lowered, body))
        await answer.collect()
        return Answer(answer.status, answer.headers, answer.body)

    return send


def over_http(host: str, port: int) -> Send:
    """Puts requests to a server, exactly as they are: no client in between that tidies up a path."""

    def call(method: str, target: str, headers: dict[str, str], body: bytes | None) -> Answer:
        connection = HTTPConnection(host, port, timeout=60)
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None or method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body or None)
        response = connection.getresponse()
        answer = Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
        connection.close()
        return answer

    async def send(method: str, target: str, headers: dict[str, str], body: bytes | None) -> Answer:
        return await asyncio.to_thread(call, method, target, headers, body)

    return send


@pytest.fixture(params=["memory", "file", "http"])
async def send(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Send]:
    store = Store(tmp_path / "store.db" if request.param == "file" else None)
    if request.param == "http":
        server = await serve(store, "127.0.0.1", 0, ("admin", HASHED))
        yield over_http("127.0.0.1", int(server.url.rpartition(":")[2]))
        await server.close()
    else:
        yield in_process(store)
    await store.close()


@pytest.mark.parametrize("name", ALIKE)
async def test_every_answer_is_couchdbs(name: str, send: Send) -> None:
    differences = await replay(load(name), send, reasons=True)
    assert not differences, "\n".join(map(str, differences))
