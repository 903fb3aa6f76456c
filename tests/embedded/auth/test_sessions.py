"""Whom a server takes somebody for: passwords, cookies, tokens and proxies."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from couchmodel import ConfigurationError
from couchmodel._embedded.auth.passwords import admin_line, hash_password
from couchmodel._embedded.auth.users import UserDocument
from couchmodel._embedded.replicator.endpoints import parse_end
from couchmodel._embedded.server.exchange import Client
from couchmodel._embedded.server.router import Router
from couchmodel._embedded.settings import Configuration
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response, parse_target

SECRET = "the secret of the server"
KEY = b"a key for tokens that is long enough for the longest of hashes, too"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


class Stranger:
    """Asks a server with nothing but headers."""

    def __init__(self, store: Store, **configured: Any) -> None:
        admins = {"admin": admin_line("secret", iterations=1)}
        self.router = Router(store, replace(Configuration(admins=admins, secret=SECRET), **configured))

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: object = None
    ) -> Response:
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = Request(method, *parse_target(target), {"host": "h", "accept": "*/*", **(headers or {})}, raw)
        return await self.router.authenticate_and_answer(request, Client("127.0.0.1"))

    async def who(self, **headers: str) -> tuple[Any, ...]:
        answer = (await self.ask("GET", "/_session", headers)).json()
        return answer["userCtx"]["name"], answer["userCtx"]["roles"], answer["info"].get("authenticated")

    async def refusal(self, **headers: str) -> tuple[int, str]:
        answer = await self.ask("GET", "/_session", headers)
        return answer.status, answer.json()["reason"]

    async def log_in(self, name: str, password: str) -> Response:
        return await self.ask("POST", "/_session", JSON, {"name": name, "password": password})


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """A store with a user."""
    store = Store(None)
    kept = hash_password("sesame", iterations=1)
    ada = {"name": "ada", "roles": ["cook"], "type": "user", **kept}
    await put_user(store, ada)
    yield store
    await store.close()


@pytest.fixture
def stranger(store: Store) -> Stranger:
    """Somebody who asks a server that has an administrator and a user."""
    return Stranger(store)


async def put_user(store: Store, user: Mapping[str, Any], rev: str = "") -> str:
    path = ("_users", f"org.couchdb.user:{user['name']}")
    body = json.dumps(user).encode()
    answer = await Router(store).answer(Request("PUT", path, {"rev": rev} if rev else {}, JSON, body))
    return str(answer.json()["rev"])


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


ADMIN = {"authorization": basic("admin:secret")}


def cookie_of(answer: Response) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


async def test_a_name_and_a_password(stranger: Stranger) -> None:
    for _ in range(2):
        assert await stranger.who(authorization=basic("ada:sesame")) == ("ada", ["cook"], "default")
        assert await stranger.who(authorization=basic("admin:secret")) == ("admin", ["_admin"], "default")
    assert await stranger.who() == (None, [], None)
    assert await stranger.who(authorization=basic("_:_")) == (None, [], None)


@pytest.mark.parametrize("login", ["ada:wrong", "ada:", "eve:sesame", "admin:sesame"])
async def test_a_wrong_password(stranger: Stranger, login: str) -> None:
    assert await stranger.refusal(authorization=basic(login)) == (401, "Name or password is incorrect.")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"authorization": "Basic !!"}, "Authorization header has invalid base64 value"),
        ({"cookie": "AuthSession=abc"}, "Malformed AuthSession cookie. Please clear your cookies."),
    ],
)
async def test_credentials_that_cannot_be_read(stranger: Stranger, headers: dict[str, str], reason: str) -> None:
    assert await stranger.refusal(**headers) == (400, reason)


async def test_an_old_password_is_forgotten_at_once(store: Store, stranger: Stranger) -> None:
    rev = (await stranger.ask("GET", "/_users/org.couchdb.user:ada", ADMIN)).json()
    assert await stranger.who(authorization=basic("ada:sesame")) == ("ada", ["cook"], "default")
    changed = {"name": "ada", "roles": ["waiter"], "type": "user", **hash_password("open", iterations=1)}
    await put_user(store, changed, rev["_rev"])
    assert await stranger.who(authorization=basic("ada:open")) == ("ada", ["waiter"], "default")
    assert (await stranger.refusal(authorization=basic("ada:sesame")))[0] == 401


async def test_an_administrator_has_the_roles_of_the_user_too(store: Store, stranger: Stranger) -> None:
    await put_user(store, {"name": "admin", "roles": ["cook"], "type": "user", **hash_password("x", iterations=1)})
    assert await stranger.who(authorization=basic("admin:secret")) == ("admin", ["_admin", "cook"], "default")


async def test_whoever_guesses_is_locked_out(stranger: Stranger) -> None:
    for _ in range(5):
        assert (await stranger.log_in("ada", "wrong")).status == 401
    reason = "Account is temporarily locked due to multiple authentication failures"
    assert await stranger.refusal(authorization=basic("ada:sesame")) == (403, reason)
    assert (await stranger.who(authorization=basic("admin:secret")))[0] == "admin"


async def test_many_guesses_at_a_time_are_no_more_than_one_by_one(stranger: Stranger) -> None:
    answers = await asyncio.gather(*(stranger.log_in("ada", f"wrong {number}") for number in range(30)))
    refused = [answer.status for answer in answers].count(401)
    assert 5 <= refused <= 6  # two passwords are hashed at a time


async def test_guesses_at_nobody_do_not_push_others_out(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.LOCKOUT_COUNTS", 3)
    for _ in range(5):
        await stranger.log_in("ada", "wrong")
    for number in range(3):
        await stranger.log_in(f"nobody {number}", "wrong")
    assert (await stranger.log_in("ada", "sesame")).status == 403


@pytest.mark.parametrize("member", [{"iterations": 10**12}, {"salt": 5}])
async def test_a_hash_that_nobody_computes_lets_nobody_in(
    store: Store, stranger: Stranger, member: dict[str, Any]
) -> None:
    await put_user(store, {"name": "eve", "roles": [], "type": "user", **hash_password("x", iterations=1), **member})
    assert (await stranger.log_in("eve", "x")).status in (401, 403)


@pytest.mark.parametrize("packed", [True, False])
async def test_who_begins_a_session_does_not_send_much(stranger: Stranger, packed: bool) -> None:
    body = b'{"name":"ada","password":"%b"}' % (b" " * 100_000)
    headers = {**JSON, "content-encoding": "gzip"} if packed else JSON
    answer = await stranger.ask("POST", "/_session", headers, gzip.compress(body) if packed else body)
    assert answer.status == 413


def test_no_secret_is_shown() -> None:
    settled = Configuration({"admin": "mine"}, secret="mine", jwt_keys={"hmac:a": "mine"}, proxy_secret="mine")
    end = parse_end({"url": "http://bob:mine@h/db", "headers": {"Authorization": "mine"}})
    assert "mine" not in f"{settled} {end} {UserDocument((), {'derived_key': 'mine'})}"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, {"name": "ada", "password": "sesame"}),
        (JSON, {"username": "ada", "password": "sesame"}),
        (FORM, b"name=ada&password=sesame"),
        ({"content-type": "application/json; charset=utf-8"}, {"name": "ada", "password": "sesame"}),
    ],
)
async def test_a_session(stranger: Stranger, headers: dict[str, str], body: object) -> None:
    answer = await stranger.ask("POST", "/_session", headers, body)
    assert (answer.status, answer.json()) == (200, {"ok": True, "name": "ada", "roles": ["cook"]})
    assert "; Version=1; Expires=" in answer.headers["set-cookie"]
    assert answer.headers["set-cookie"].endswith("GMT; Max-Age=600; Path=/; HttpOnly")
    assert await stranger.who(cookie=f"other=1; {cookie_of(answer)}") == ("ada", ["cook"], "cookie")


@pytest.mark.parametrize(
    ("headers", "body", "status", "reason"),
    [
        (JSON, {"name": "ada", "password": "wrong"}, 401, "Name or password is incorrect."),
        (JSON, {"name": "eve", "password": "sesame"}, 401, "Name or password is incorrect."),
        (JSON, {"name": "ada"}, 401, "Name or password is incorrect."),
        (JSON, {"password": "sesame"}, 400, "request body must contain a username"),
        (JSON, {"name": "ada", "username": "eve"}, 400, "request body contains different usernames"),
        (JSON, {"name": 1}, 400, "request body must be an object of strings"),
        (JSON, [], 400, "request body must be an object of strings"),
        (JSON, b"{", 400, "invalid UTF-8 JSON"),
        (FORM, b"", 400, "request body must contain a username"),
        (
            {"content-type": "text/plain"},
            b"",
            415,
            "Content-Type must be 'application/x-www-form-urlencoded' or 'application/json'",
        ),
    ],
)
async def test_a_session_that_does_not_begin(
    stranger: Stranger, headers: dict[str, str], body: object, status: int, reason: str
) -> None:
    answer = await stranger.ask("POST", "/_session", headers, body)
    assert (answer.status, answer.json()["reason"]) == (status, reason)
    assert (status == 401) == ("AuthSession=;" in answer.headers.get("set-cookie", ""))


async def test_a_cookie_of_a_time_that_is_none_is_nobodys(stranger: Stranger) -> None:
    forged = base64.urlsafe_b64encode(b"ada:" + b"F" * 1000 + b":x").decode()
    assert (await stranger.who(cookie=f"AuthSession={forged}"))[0] is None


async def test_a_session_ends(stranger: Stranger) -> None:
    answer = await stranger.ask("DELETE", "/_session")
    assert (answer.json(), cookie_of(answer)) == ({"ok": True}, "AuthSession=")


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/_session?next=/db/page", b"name=ada&password=sesame"),
        ("POST", "/_session?fail=/db/page", b"name=ada&password=wrong"),
        ("DELETE", "/_session?next=/db/page", b""),
    ],
)
async def test_a_client_is_sent_where_it_wants_to_go(stranger: Stranger, method: str, target: str, body: bytes) -> None:
    answer = await stranger.ask(method, target, FORM, body)
    assert (answer.status, answer.headers["location"]) == (302, "http://h/db/page")
    assert "set-cookie" in answer.headers


async def test_a_client_of_a_proxy_is_sent_to_the_proxy(stranger: Stranger) -> None:
    proxy = {"x-forwarded-host": "proxy.example", "x-forwarded-proto": "https"}
    answer = await stranger.ask("DELETE", "/_session?next=/db/page", proxy)
    assert answer.headers["location"] == "https://proxy.example/db/page"


@pytest.mark.parametrize("page", ["page", "", "/a%0d%0aX-Header:%20b", "%0d%0a"])
async def test_a_client_is_not_sent_to_what_is_no_page(stranger: Stranger, page: str) -> None:
    answer = await stranger.ask("POST", f"/_session?next={page}", FORM, b"name=ada&password=sesame")
    assert (answer.status, answer.json()["reason"]) == (400, "path must begin with a /.")
    assert "location" not in answer.headers


def cookie(name: str, age: int, key: str) -> str:
    signed = f"{name}:{int(time.time()) - age:X}".encode()
    mac = hmac.digest(key.encode(), signed, hashlib.sha1)  # an older server's
    return "AuthSession=" + base64.urlsafe_b64encode(signed + b":" + mac).rstrip(b"=").decode()


async def test_a_cookie_is_renewed_while_it_is_used_and_ends_otherwise(store: Store, stranger: Stranger) -> None:
    user = (await Router(store).answer(Request("GET", ("_users", "org.couchdb.user:ada")))).json()
    key = SECRET + user["salt"]
    fresh = await stranger.ask("GET", "/", {"cookie": cookie("ada", 10, key)})
    old = await stranger.ask("GET", "/", {"cookie": cookie("ada", 100, key)})
    assert "set-cookie" not in fresh.headers
    assert await stranger.who(cookie=cookie_of(old)) == ("ada", ["cook"], "cookie")
    assert await stranger.who(cookie=cookie("ada", 601, key)) == (None, [], None)
    assert await stranger.who(cookie=cookie("ada", 10, "another")) == (None, [], None)
    assert await stranger.who(cookie=cookie("eve", 10, key)) == (None, [], None)


async def test_sessions_outlive_the_server(store: Store) -> None:
    answer = await Stranger(store, secret=None).log_in("ada", "sesame")
    assert (await Stranger(store, secret=None).who(cookie=cookie_of(answer)))[0] == "ada"


async def test_a_party_without_administrators(store: Store) -> None:
    stranger = Stranger(store, admins={})
    assert await stranger.who() == (None, ["_admin"], "default")
    assert await stranger.who(authorization=basic("ada:sesame")) == ("ada", ["cook"], "default")


async def test_strangers_may_be_refused_altogether(store: Store) -> None:
    stranger = Stranger(store, require_valid_user=True)
    answer = await stranger.ask("GET", "/")
    assert (answer.status, answer.json()["reason"]) == (401, "Authentication required.")
    assert answer.headers["www-authenticate"] == 'Basic realm="server"'
    assert (await stranger.log_in("ada", "sesame")).status == 200


async def test_a_client_says_how_it_wants_to_be_challenged(stranger: Stranger) -> None:
    answer = await stranger.ask("GET", "/_all_dbs", {"x-couchdb-www-authenticate": "Cookie"})
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Cookie")
    assert "www-authenticate" not in (await stranger.ask("GET", "/_all_dbs")).headers


async def test_many_who_ask_at_once_wait_for_one_hash(store: Store) -> None:
    stranger = Stranger(store, admins={"admin": "secret"})
    found = await asyncio.gather(*(stranger.who(authorization=basic("admin:secret")) for _ in range(50)))
    assert set(map(str, found)) == {str(("admin", ["_admin"], "default"))}
    assert len(stranger.router.authentication._passwords) == 1


# --- administrators


async def test_administrators_are_made_by_request_and_stay(store: Store, stranger: Stranger) -> None:
    path = "/_node/_local/_config/admins/eve"
    line = admin_line("apple", iterations=1)
    assert (await stranger.ask("PUT", path, ADMIN, line)).json() == ""
    assert (await stranger.who(authorization=basic("eve:apple"))) == ("eve", ["_admin"], "default")
    assert (await Stranger(store, admins={}).who(authorization=basic("eve:apple")))[0] == "eve"
    assert (await stranger.ask("GET", path, ADMIN)).json() == line
    assert (await stranger.ask("DELETE", path, ADMIN)).json() == line
    assert (await stranger.refusal(authorization=basic("eve:apple")))[0] == 401


SETTLED = "Only administrators can be changed by request; the rest are options of `couchmodel serve`."


@pytest.mark.parametrize(
    ("method", "target", "status", "value"),
    [
        ("GET", "/_node/_local", 200, {"name": "couchmodel@127.0.0.1"}),
        ("GET", "/_node", 400, "Incomplete path to _node request"),
        ("GET", "/_node/another", 412, "another is down"),
        ("GET", "/_node/_local/_config/chttpd/require_valid_user", 200, "false"),
        ("GET", "/_node/_local/_config/nothing", 200, {}),
        ("GET", "/_node/_local/_config/nothing/x", 404, "unknown_config_value"),
        ("DELETE", "/_node/_local/_config/admins/x", 404, "unknown_config_value"),
        ("PUT", "/_node/_local/_config/admins", 405, "Only GET allowed"),
        ("PUT", "/_node/_local/_config/admins/x", 400, "a JSON string expected"),
        ("PUT", "/_node/_local/_config/log/level", 501, SETTLED),
        ("DELETE", "/_node/_local/_config/log/level", 501, SETTLED),
    ],
)
async def test_the_configuration(stranger: Stranger, method: str, target: str, status: int, value: object) -> None:
    answer = await stranger.ask(method, target, ADMIN, 5 if method == "PUT" else None)
    told = answer.json() if status == 200 else answer.json()["reason"]
    assert (answer.status, told) == (status, value)


async def test_the_configuration_shows_no_secret(stranger: Stranger) -> None:
    answer = await stranger.ask("GET", "/_node/_local/_config", ADMIN)
    assert SECRET not in answer.body.decode()
    assert answer.json()["chttpd_auth"]["timeout"] == "600"


# --- tokens and proxies


def pem(private: Any) -> str:
    public = private.public_key()
    text: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


RSA = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
KEYS = {"hmac:_default": base64.b64encode(KEY).decode(), "rsa:one": pem(RSA), "ec:two": pem(CURVE)}


def token(claims: dict[str, Any], key: Any = KEY, algorithm: str = "HS256", **headers: Any) -> str:
    # Tokens are made when tests are collected, which may be long before they run.
    return "Bearer " + jwt.encode({"exp": 2**40, **claims}, key, algorithm, headers)


@pytest.mark.parametrize(
    "header",
    [
        token({"sub": "ada", "_couchdb.roles": ["cook"]}),
        token({"sub": "ada", "_couchdb.roles": "cook"}, algorithm="HS512"),
        token({"sub": "ada", "_couchdb.roles": ["cook"]}, RSA, "RS256", kid="one"),
        token({"sub": "ada", "_couchdb.roles": ["cook"]}, CURVE, "ES256", kid="two"),
    ],
)
async def test_a_token(store: Store, header: str) -> None:
    stranger = Stranger(store, jwt_keys=KEYS)
    assert await stranger.who(authorization=header) == ("ada", ["cook"], "jwt")


@pytest.mark.parametrize(
    ("header", "status", "reason"),
    [
        ("Bearer x", 400, "Malformed token"),
        ("Bearer a.b.c", 400, "Malformed token"),
        (token({"sub": "ada"}, KEY[1:]), 400, "Bad HMAC"),
        (token({"sub": "ada"}, ec.generate_private_key(ec.SECP256R1()), "ES256", kid="two"), 400, "Bad signature"),
        (token({"sub": "ada"}, kid="three"), 400, "Unknown kid"),
        (token({"sub": "ada", "exp": 1}), 401, "exp not in future"),
        (token({"sub": "ada", "nbf": 2**40}), 401, "nbf not in past"),
        (token({}), 401, "Token missing sub claim."),
        (token({"sub": None}), 401, "The sub claim of a token must be a name."),
        (token({"sub": ["ada"]}), 401, "The sub claim of a token must be a name."),
        (token({"sub": 7}), 401, "The sub claim of a token must be a name."),
        (token({"sub": ""}), 401, "The sub claim of a token must be a name."),
        (token({"sub": "ada", "_couchdb.roles": [1]}), 400, "Malformed token"),
        ("Bearer " + jwt.encode({"sub": "ada"}, KEY), 400, "Missing exp claim"),
        ("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.eA", 400, "Invalid alg header parameter"),
    ],
)
async def test_a_token_that_is_none(store: Store, header: str, status: int, reason: str) -> None:
    stranger = Stranger(store, jwt_keys=KEYS)
    assert await stranger.refusal(authorization=header) == (status, reason)


async def test_without_keys_no_token_says_anything(stranger: Stranger) -> None:
    assert await stranger.who(authorization=token({"sub": "ada"})) == (None, [], None)


@pytest.mark.parametrize(
    "keys", [{"hmac:a": "!"}, {"rsa:a": "no key"}, {"dsa:a": "x"}, {"hmac": "YQ=="}, {"hmac:a": ""}]
)
def test_a_key_that_is_none_is_told_at_the_start(keys: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="key"):
        Router(Store(None), Configuration(jwt_keys=keys))


def proxied(name: str, token: str = "") -> dict[str, str]:
    return {"x-auth-couchdb-username": name, "x-auth-couchdb-roles": "cook, waiter", "x-auth-couchdb-token": token}


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_a_proxy_proves_who_it_is(store: Store, algorithm: str) -> None:
    stranger = Stranger(store, proxy_secret="between us")
    proof = hmac.new(b"between us", b"ada", algorithm).hexdigest()
    assert await stranger.who(**proxied("ada", proof)) == ("ada", ["cook", "waiter"], "proxy")
    assert await stranger.who(**proxied("eve", proof)) == (None, [], None)
    assert await stranger.who(**proxied("ada")) == (None, [], None)


async def test_a_proxy_is_not_heard_unless_it_is_expected(store: Store, stranger: Stranger) -> None:
    assert await stranger.who(**proxied("ada")) == (None, [], None)
    assert (await Stranger(store, proxy_secret="").who(**proxied("ada")))[2] == "proxy"


async def test_the_ways_to_be_recognised(store: Store) -> None:
    stranger = Stranger(store, proxy_secret="x", jwt_keys=KEYS)
    handlers = (await stranger.ask("GET", "/_session")).json()["info"]["authentication_handlers"]
    assert handlers == ["proxy", "jwt", "cookie", "default"]
