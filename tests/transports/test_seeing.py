"""What can be seen of the requests: the log, and aiohttp's traces."""

import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from couchmodel import ConfigurationError, ProtocolError
from couchmodel._wire.messages import Request
from couchmodel.engine import CouchDB, Session
from couchmodel.transports import CookieAuth
from tests.transports.conftest import Scripted, say

Start = Callable[..., Awaitable[Scripted]]
Open = Callable[..., Session]

LOGIN = say("200 OK", b"{}", "Set-Cookie: AuthSession=secret; Max-Age=600")


async def test_each_try_is_logged_without_bodies_queries_and_secrets(
    scripted: Start, line: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "couchmodel.http")
    server = await scripted(LOGIN, say("503 Busy", b'"secret"'), say(), b"")
    session = line(server, auth=CookieAuth("ada", "secret"))
    await session.send(Request("POST", ("db", "_find"), {"q": "secret"}, body=b'"secret"'))
    with pytest.raises(ProtocolError):
        await session.send(Request("POST", ("d/b",), body=b'"secret"'))
    said = [record.getMessage() for record in caplog.records if record.name == "couchmodel.http"]
    assert [text.partition(", ")[0] for text in said] == [
        "POST /_session: 200",
        "POST /db/_find: 503",
        "POST /db/_find: 200",
        "POST /d%2Fb: ClientConnectionError",
    ]
    assert all(text.endswith(" ms") for text in said)
    assert "secret" not in caplog.text


async def test_nothing_is_logged_unless_asked_for(
    scripted: Start, line: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await line(await scripted(say())).get(())
    assert not [record for record in caplog.records if record.name == "couchmodel.http"]


async def test_a_trace_sees_every_try(scripted: Start, line: Open) -> None:
    seen: list[str] = []

    async def ended(
        session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        seen.append(f"{params.method} {params.url.path} {params.response.status}")

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(ended)
    server = await scripted(say("503 Busy", b""), say())
    await line(server, trace_configs=[trace]).get(("db",))
    assert seen == ["GET /db 503", "GET /db 200"]


async def test_headers_and_options_reach_aiohttp(scripted: Start, line: Open) -> None:
    server = await scripted(say())
    await line(server, headers={"X-Tenant": "7"}, skip_auto_headers=["User-Agent"], loop=None).get(())
    assert server.heard[0].headers["x-tenant"] == "7"
    assert "user-agent" not in server.heard[0].headers


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tiemout": 3}, "tiemout: neither couchmodel nor aiohttp.ClientSession"),
        ({"retry_policy": 3}, "retry_policy= must be a RetryPolicy, not a int"),
        ({"connections": 0}, "connections=0"),
    ],
)
def test_an_option_that_means_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        CouchDB("http://localhost:5984", **options)
