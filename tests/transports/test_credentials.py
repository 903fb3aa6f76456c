"""Every way to say who a client is, and what becomes of it when it expires."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

import pytest

from couchmodel import ConfigurationError, ProtocolError, UnauthorizedError
from couchmodel._wire.messages import Request
from couchmodel.engine import CouchDB, Session
from couchmodel.transports import BasicAuth, CookieAuth, Credentials, JWTAuth, ProxyAuth
from tests.transports.conftest import Scripted, say

Start = Callable[..., Awaitable[Scripted]]
Open = Callable[..., Session]

REFUSED = say("401 Unauthorized", b'{"error":"unauthorized","reason":"You are not authorized."}')


@pytest.fixture
def server(url: str, backend: str) -> tuple[str, tuple[str, str]]:
    """The URL of a server, and the name and the password of its administrator."""
    if backend in ("memory", "file"):
        pytest.skip("no server")
    parts = urlsplit(url)
    login = unquote(parts.username or ""), unquote(parts.password or "")
    return f"{parts.scheme}://{parts.hostname}:{parts.port}", login


def cookie(value: str, life: int | None = 600, *more: str) -> bytes:
    age = "" if life is None else f"; Max-Age={life}"
    return say("200 OK", b'{"ok":true}', *more, f"Set-Cookie: AuthSession={value}; Version=1{age}; Path=/; HttpOnly")


def token(**claims: float) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({}, claims, {}))


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"user": "ada", "password": "p:w"}, b"ada:p:w"),
        ({"user": "ada", "password": ""}, b"ada:"),
        ({"user": "ada"}, b"ada:"),
        ({"user": "ädä", "password": "ß☃"}, "ädä:ß☃".encode()),
        ({"auth": BasicAuth("ada", "pw")}, b"ada:pw"),
    ],
)
async def test_basic_authentication(options: dict[str, str], sent: bytes, scripted: Start, line: Open) -> None:
    server = await scripted(say())
    await line(server, **options).get(())
    assert server.heard[0].headers["authorization"] == "Basic " + base64.b64encode(sent).decode()


@pytest.mark.parametrize("options", [{}, {"user": "", "password": ""}, {"auth": None}])
async def test_no_credentials_are_none(options: dict[str, str], scripted: Start, line: Open) -> None:
    server = await scripted(say())
    await line(server, **options).get(())
    assert not server.heard[0].headers.keys() & {"authorization", "cookie"}


async def test_a_session_logs_in_once_and_then_sends_its_cookie(scripted: Start, line: Open) -> None:
    server = await scripted(cookie("one"), say())
    session = line(server, auth=CookieAuth("ada", "pw ü"))
    await asyncio.gather(*(session.get(()) for _ in range(5)))
    login, *others = server.heard
    assert (login.method, login.target) == ("POST", "/_session")
    assert json.loads(login.body) == {"name": "ada", "password": "pw ü"}
    assert [heard.headers["cookie"] for heard in others] == ["AuthSession=one"] * 5


async def test_a_session_takes_over_the_cookie_that_the_server_renews(scripted: Start, line: Open) -> None:
    renewed = cookie("two", 600, "Set-Cookie: balancer=b7; Path=/")
    server = await scripted(cookie("one"), renewed, say())
    session = line(server, auth=CookieAuth("ada", "pw"))
    for _ in range(3):
        await session.get(())
    assert [heard.headers.get("cookie") for heard in server.heard[1:]] == [
        f"AuthSession={n}" for n in ("one", "two", "two")
    ]


async def test_a_session_that_is_refused_logs_in_again_once(scripted: Start, line: Open) -> None:
    server = await scripted(cookie("one"), REFUSED, cookie("two"), say())
    await line(server, auth=CookieAuth("ada", "pw")).send(Request("POST", ("db",), body=b"{}"))
    assert [heard.target for heard in server.heard] == ["/_session", "/db", "/_session", "/db"]
    assert server.heard[3].headers["cookie"] == "AuthSession=two"
    assert server.heard[3].body == b"{}"


async def test_a_session_that_stays_refused_is_unauthorized(scripted: Start, line: Open) -> None:
    server = await scripted(cookie("one"), REFUSED, cookie("two"), REFUSED)
    with pytest.raises(UnauthorizedError, match=r"401 unauthorized: You are not authorized. \(GET /\)"):
        await line(server, auth=CookieAuth("ada", "pw")).get(())
    assert len(server.heard) == 4


async def test_a_session_logs_in_again_before_its_cookie_expires(scripted: Start, line: Open) -> None:
    server = await scripted(cookie("one", 0), say(), cookie("two"), say())
    session = line(server, auth=CookieAuth("ada", "pw"))
    await session.get(())
    await session.get(())
    assert [heard.target for heard in server.heard] == ["/_session", "/", "/_session", "/"]


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (REFUSED, UnauthorizedError, r"not authorized. \(POST /_session\)"),
        (say(), ProtocolError, "no session cookie: is cookie authentication enabled"),
        (cookie(""), ProtocolError, "no session"),
    ],
)
async def test_a_login_that_fails_says_so(
    said: bytes, kind: type[Exception], message: str, scripted: Start, line: Open
) -> None:
    with pytest.raises(kind, match=message) as caught:
        await line(await scripted(said), auth=CookieAuth("ada", "secret")).get(())
    assert "secret" not in str(caught.value)


async def test_a_login_that_is_cut_off_is_tried_again_for_any_request(scripted: Start, line: Open) -> None:
    server = await scripted(b"", cookie("one"), say())
    await line(server, auth=CookieAuth("ada", "pw")).send(Request("POST", ("db",), body=b"{}"))
    assert [heard.target for heard in server.heard] == ["/_session", "/_session", "/db"]


async def test_a_cookie_alone_is_renewed_but_not_replaced(scripted: Start, line: Open) -> None:
    server = await scripted(cookie("two"), say(), REFUSED)
    session = line(server, cookie="one")
    await session.get(())
    await session.get(())
    with pytest.raises(UnauthorizedError):
        await session.get(())
    assert [heard.headers["cookie"] for heard in server.heard] == ["AuthSession=" + n for n in ("one", "two", "two")]


async def test_a_cookie_with_a_user_is_replaced(scripted: Start, line: Open) -> None:
    server = await scripted(REFUSED, cookie("two"), say())
    await line(server, user="ada", password="pw", cookie="one").get(())
    assert [heard.headers.get("cookie") for heard in server.heard] == ["AuthSession=one", None, "AuthSession=two"]


async def test_a_cancelled_login_leaves_the_session_usable(scripted: Start, line: Open) -> None:
    server = await scripted(None, cookie("one"), say())
    session = line(server, auth=CookieAuth("ada", "pw"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(session.get(()), 0.05)
    assert await session.get(()) == {"ok": True}


async def test_a_token_goes_with_every_request(scripted: Start, line: Open) -> None:
    server = await scripted(say())
    await line(server, auth=JWTAuth("a.b.c")).get(())
    assert server.heard[0].headers["authorization"] == "Bearer a.b.c"


@pytest.mark.parametrize(
    ("life", "asked"), [(600.0, 1), (-600.0, 3), (None, 3)], ids=["lasting", "expired", "does not say"]
)
async def test_a_token_is_asked_for_when_it_expires(
    life: float | None, asked: int, scripted: Start, line: Open
) -> None:
    given: list[str] = []

    async def source() -> str:
        given.append(token() if life is None else token(exp=time.time() + life))
        return given[-1]

    server = await scripted(say())
    session = line(server, auth=JWTAuth(source))
    for _ in range(3):
        await session.get(())
    assert len(given) == asked
    assert server.heard[-1].headers["authorization"] == f"Bearer {given[-1]}"


async def test_a_token_that_is_refused_is_asked_for_again_once(scripted: Start, line: Open) -> None:
    tokens = [token(exp=time.time() + n) for n in (600, 601, 602)]
    given = iter(tokens)

    async def source() -> str:
        return next(given)

    server = await scripted(REFUSED, say(), REFUSED)
    session = line(server, auth=JWTAuth(source))
    await session.get(())
    with pytest.raises(UnauthorizedError):
        await session.get(())
    sent = [heard.headers["authorization"] for heard in server.heard]
    assert sent == [f"Bearer {tokens[n]}" for n in (0, 1, 1, 2)]


async def test_what_the_source_of_tokens_raises_comes_through(scripted: Start, line: Open) -> None:
    async def source() -> str:
        raise LookupError("no token today")

    with pytest.raises(LookupError, match="no token today"):
        await line(await scripted(say()), auth=JWTAuth(source)).get(())


async def test_a_proxy_names_the_user_and_proves_it(scripted: Start, line: Open) -> None:
    server = await scripted(say())
    await line(server, auth=ProxyAuth("ada", ["cooks", "readers"], secret="s3cret")).get(())
    headers = server.heard[0].headers
    assert headers["x-auth-couchdb-username"] == "ada"
    assert headers["x-auth-couchdb-roles"] == "cooks,readers"
    assert headers["x-auth-couchdb-token"] == hmac.new(b"s3cret", b"ada", hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BasicAuth("a:b", "secret"), "colon"),
        (lambda: BasicAuth("ada", b"secret"), "strings"),  # type: ignore[arg-type]
        (CookieAuth, "needs a user"),
        (lambda: CookieAuth(cookie="secret\r\nx: y"), "visible ASCII"),
        (lambda: CookieAuth(cookie=""), "visible ASCII"),
        (lambda: JWTAuth("secret token"), "visible ASCII"),
        (lambda: JWTAuth(None), "async callable"),  # type: ignore[arg-type]
        (lambda: ProxyAuth("ada\r\nx: y", secret="secret"), "line break"),
        (lambda: ProxyAuth("ada", secret="secret", algorithm="rot13"), "the hash algorithm 'rot13' is unknown"),
        (lambda: CouchDB("http://h", password="secret"), "needs a user"),
        (lambda: CouchDB("http://ada:secret@h", auth=BasicAuth("ada", "secret")), "given twice"),
        (lambda: CouchDB("http://h", cookie="secret", auth=JWTAuth("secret")), "given twice"),
        (lambda: CouchDB("http://h", auth=("ada", "secret")), "auth= must be a BasicAuth.* not a tuple"),
    ],
)
def test_credentials_that_cannot_work_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        make()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "auth",
    [
        BasicAuth("ada", "secret"),
        CookieAuth("ada", "secret"),
        CookieAuth(cookie="secret"),
        JWTAuth("secret"),
        ProxyAuth("ada", secret="secret"),
    ],
)
def test_no_repr_shows_a_secret(auth: Credentials) -> None:
    couch = CouchDB("http://localhost", auth=auth)
    assert "secret" not in f"{auth!r} {couch!r} {auth}"


async def test_a_session_with_a_server_lives_on(server: tuple[str, tuple[str, str]]) -> None:
    url, login = server
    async with CouchDB(url, auth=CookieAuth(*login)) as couch:
        await couch.keys()
        answer = await couch.session.get(("_session",))
        assert answer["info"]["authenticated"] == "cookie"


async def test_a_cookie_of_a_server_is_enough(server: tuple[str, tuple[str, str]]) -> None:
    url, login = server
    auth = CookieAuth(*login)
    async with CouchDB(url, auth=auth) as couch:
        await couch.keys()
        value = (await auth.headers(couch.session.send))["Cookie"].removeprefix("AuthSession=")
    async with CouchDB(url, None, None, value) as couch:
        await couch.keys()


async def test_a_server_refuses_a_wrong_password(server: tuple[str, tuple[str, str]]) -> None:
    url, (user, _) = server
    async with CouchDB(url, auth=CookieAuth(user, "wrong")) as couch:
        with pytest.raises(UnauthorizedError, match=r"Name or password is incorrect.*POST /_session"):
            await couch.keys()


async def test_credentials_with_the_former_names_work_with_a_warning(scripted: Start, line: Open) -> None:
    with pytest.warns(DeprecationWarning, match=r"Credentials\.(renews|refused) is now ") as warned:

        class Ticket(Credentials):
            renews = True

            def __init__(self) -> None:
                self.ticket = 1

            async def headers(self, exchange: object) -> dict[str, str]:
                return {"X-Ticket": str(self.ticket)}

            def refused(self, headers: object) -> bool:
                self.ticket += 1
                return True

    assert {each.filename for each in warned} == {__file__}
    server = await scripted(REFUSED, say())
    await line(server, auth=Ticket()).get(())
    assert [each.headers["x-ticket"] for each in server.heard] == ["1", "2"]


def test_a_former_name_of_credentials_reads_and_sets_the_present_one() -> None:
    credentials = BasicAuth("ada", "pw")
    with pytest.warns(DeprecationWarning, match=r"Credentials\.fixed is now static_headers") as warned:
        credentials.fixed = {"X-Key": "1"}
    assert warned[0].filename == __file__
    assert credentials.static_headers == {"X-Key": "1"}
    with pytest.warns(DeprecationWarning, match=r"Credentials\.fixed is now static_headers"):
        assert credentials.fixed == {"X-Key": "1"}
