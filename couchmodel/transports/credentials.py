"""The credentials of a client: one class for each of CouchDB's authentication schemes.

No ``repr`` shows a secret. For a scheme of your own, make a subclass of :class:`Credentials`.
"""

import asyncio
import base64
import binascii
import hmac
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from couchmodel._wire.answers import answer_error
from couchmodel._wire.messages import EMPTY, Request, Response, decode, encode
from couchmodel.errors import ConfigurationError, ProtocolError, TransportError
from couchmodel.transports.request_stream import RequestStream

__all__ = [
    "BasicAuth",
    "CookieAuth",
    "Credentials",
    "Exchange",
    "JWTAuth",
    "ProxyAuth",
    "credentials_of",
    "send_authenticated",
]

Exchange = Callable[[Request], Awaitable[Response]]
"""A function that sends a request without credentials."""

_LIFETIME: Final = 600.0
"""Seconds that a cookie is valid if the server does not say: CouchDB's default (``chttpd_auth/timeout``)."""

_FRESH_SHARE: Final = 0.9
"""The share of its lifetime for which a cookie or a token is used, so that none expires on its way to the server."""


_FORMER_NAMES: Final = {
    "fixed": "static_headers",
    "renews": "is_refreshable",
    "refused": "invalidate",
    "learn": "update_cookies",
}


def _warn_of_former_name(former: str, name: str) -> None:
    message = f"Credentials.{former} is now {name}; the old name works in this version only"
    warnings.warn(message, DeprecationWarning, stacklevel=3)


def _former_name(name: str) -> Any:
    """Return a property that reads and sets the attribute ``name``, with a warning."""
    former = next(key for key, value in _FORMER_NAMES.items() if value == name)

    def read(self: "Credentials") -> Any:
        _warn_of_former_name(former, name)
        return getattr(self, name)

    def write(self: "Credentials", value: Any) -> None:
        _warn_of_former_name(former, name)
        setattr(self, name, value)

    return property(read, write)


class Credentials:
    """The base class of credentials.

    The ``static_headers`` are sent with every request. If ``is_refreshable`` is True, the methods are called as well,
    for headers that expire.
    """

    static_headers: Mapping[str, str] = EMPTY
    is_refreshable: bool = False

    # Former names, which work for one more version, also in subclasses: see ``__init_subclass__``.
    fixed = _former_name("static_headers")
    renews = _former_name("is_refreshable")
    refused = _former_name("invalidate")
    learn = _former_name("update_cookies")

    def __init_subclass__(cls) -> None:
        """Accept methods that a subclass defines under their former names."""
        super().__init_subclass__()
        for former, name in _FORMER_NAMES.items():
            if former in vars(cls):
                _warn_of_former_name(former, name)
                setattr(cls, name, vars(cls)[former])
                delattr(cls, former)

    async def headers(self, exchange: Exchange) -> Mapping[str, str]:
        """Return the headers of the next request. ``exchange`` sends requests that come before it, such as a login."""
        return EMPTY

    def invalidate(self, headers: Mapping[str, str]) -> bool:
        """Forget these headers, to which the server answered 401. Return True to try again with other ones."""
        return False

    def update_cookies(self, set_cookies: Iterable[str]) -> None:
        """Take the ``Set-Cookie`` headers of an answer, which may have a new cookie."""


class BasicAuth(Credentials):
    """A name and a password that are sent with every request. CouchDB checks the password each time, which is slow."""

    def __init__(self, user: str, password: str = "") -> None:
        """Raises ConfigurationError for a name with a colon, because the colon would end the name."""
        _check_login(user, password)
        # RFC 7617, section 2: the first colon ends the name.
        if ":" in user:
            raise ConfigurationError(
                f"the user {user!r} has a colon, which basic authentication cannot send: use CookieAuth"
            )
        self.user = user
        self.static_headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    def __repr__(self) -> str:
        return f"<BasicAuth {self.user!r}>"


class CookieAuth(Credentials):
    """A session of CouchDB: one login, then a cookie that is renewed while it is used.

    The login is sent before the first request, and again before the cookie expires or after the server has refused it.
    A ``cookie`` alone, the value of an ``AuthSession``, is renewed when the server sends a new one, and lost when it
    expires.
    """

    is_refreshable = True

    def __init__(self, user: str | None = None, password: str = "", *, cookie: str | None = None) -> None:
        """Raises ConfigurationError if there is neither a user nor a cookie."""
        if user is not None:
            _check_login(user, password)
        elif cookie is None:
            raise ConfigurationError("CookieAuth needs a user and a password, or the cookie of a session")
        self.user = user
        self._login = Request("POST", ("_session",), body=encode({"name": user, "password": password}))
        self._headers: dict[str, str] | None = None
        self._stale_at = float("inf")
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        if cookie is not None:
            self._keep(_check_secret("cookie", cookie), float("inf"))

    def __repr__(self) -> str:
        return f"<CookieAuth {'by cookie' if self.user is None else repr(self.user)}>"

    async def headers(self, exchange: Exchange) -> Mapping[str, str]:
        """Return the cookie, after a login if necessary. Raises UnauthorizedError if the login fails."""
        if headers := self._fresh_headers():
            return headers
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            # The first task has logged in for all that waited for the lock.
            return self._fresh_headers() or await self._log_in(exchange)

    def invalidate(self, headers: Mapping[str, str]) -> bool:
        """Forget the cookie, unless it has been replaced meanwhile. Return True if a login can get another one."""
        # Another task has replaced them while this request was on its way.
        if headers is not self._headers:
            return True
        if self.user is None:
            return False
        self._headers = None
        return True

    def update_cookies(self, set_cookies: Iterable[str]) -> None:
        """Keep the new cookie of the session, if there is one."""
        for text in set_cookies:
            cookie = _session_cookie(text)
            if cookie is not None:
                self._keep(*cookie)

    def _fresh_headers(self) -> Mapping[str, str] | None:
        stale = self.user is not None and time.monotonic() > self._stale_at
        return None if stale else self._headers

    def _keep(self, value: str, lifetime: float) -> None:
        self._headers = {"Cookie": f"AuthSession={value}"}
        self._stale_at = time.monotonic() + lifetime * _FRESH_SHARE

    async def _log_in(self, exchange: Exchange) -> Mapping[str, str]:
        try:
            response = await exchange(self._login)
        except TransportError as error:
            # It was the login that failed. The request behind it has not been sent.
            error.carried_out = False
            raise
        if response.status >= 300:
            raise answer_error(self._login, response)
        self._headers = None
        self.update_cookies(_set_cookies(response))
        if self._headers is None:
            raise ProtocolError("the server sent no session cookie: is cookie authentication enabled? (POST /_session)")
        return self._headers


class JWTAuth(Credentials):
    """A JSON Web Token, or an async callable that returns one.

    The callable is called when its last token is about to expire (``exp``) or was refused, and for each request if the
    token does not say when it expires.
    """

    def __init__(self, token: str | Callable[[], Awaitable[str]]) -> None:
        """Raises ConfigurationError if it is neither a callable nor a string that a header can carry."""
        self._source = None if isinstance(token, str) else token
        self._headers: dict[str, str] | None = None
        self._stale_at = 0.0
        if isinstance(token, str):
            self.static_headers = _bearer_header(token)
        elif not callable(token):
            raise ConfigurationError("the token of JWTAuth must be a string, or an async callable that returns one")
        self.is_refreshable = self._source is not None

    def __repr__(self) -> str:
        return f"<JWTAuth {'by token' if self._source is None else 'by callable'}>"

    async def headers(self, exchange: Exchange) -> Mapping[str, str]:
        """Return the token. Raises what the callable raises."""
        if self._source is None:
            return EMPTY
        if self._headers is None or time.time() >= self._stale_at:
            token = await self._source()
            self._headers, self._stale_at = _bearer_header(token), _stale_at(token)
        return self._headers

    def invalidate(self, headers: Mapping[str, str]) -> bool:
        """Forget the token, unless it has been replaced meanwhile. Return True if a callable can get another one."""
        if headers is self._headers:
            self._headers = None
        return self._source is not None


class ProxyAuth(Credentials):
    """A name and roles that the server trusts, as those of a proxy (``proxy_authentication_handler``).

    If the server requires a proof (``chttpd_auth/proxy_use_secret``), ``secret`` is its ``chttpd_auth/secret``, and
    ``algorithm`` one of its ``hash_algorithms``. CouchDB before 3.4 knows ``sha1`` only.
    """

    def __init__(
        self, user: str, roles: Iterable[str] = (), *, secret: str | None = None, algorithm: str = "sha256"
    ) -> None:
        """Raises ConfigurationError for a name or roles that no header can carry, and for an unknown algorithm."""
        # The headers' names are CouchDB's defaults (manual, "Proxy Authentication").
        joined = ",".join(roles)
        self.user = user
        self.static_headers = {
            "X-Auth-CouchDB-UserName": _check_header("user", user),
            "X-Auth-CouchDB-Roles": _check_header("roles", joined),
        }
        if secret is not None:
            try:
                token = hmac.new(secret.encode(), user.encode(), algorithm).hexdigest()
            except ValueError:
                raise ConfigurationError(
                    f"the hash algorithm {algorithm!r} is unknown: use one of the server's, such as 'sha256'"
                ) from None
            self.static_headers["X-Auth-CouchDB-Token"] = token

    def __repr__(self) -> str:
        return f"<ProxyAuth {self.user!r}>"


def credentials_of(
    user: str | None, password: str | None, cookie: str | None, auth: Credentials | None
) -> Credentials | None:
    """Return the credentials for these arguments, or None.

    Raises ConfigurationError if they are incomplete, or given twice.
    """
    if auth is not None and not isinstance(auth, Credentials):
        kind = type(auth).__name__
        raise ConfigurationError(f"auth= must be a BasicAuth, CookieAuth, JWTAuth or ProxyAuth, not a {kind}")
    if auth is not None and (user or password or cookie is not None):
        raise ConfigurationError("the credentials are given twice: give either auth=, or user, password and cookie")
    if password and not user:
        raise ConfigurationError("a password needs a user: give both, or neither")
    if cookie is not None:
        return CookieAuth(user or None, password or "", cookie=cookie)
    return BasicAuth(user, password or "") if user else auth


class SendWithHeaders(Protocol):
    """A function that sends a request, with ``headers`` in addition to its own."""

    def __call__(self, request: Request, headers: Mapping[str, str] = EMPTY, /) -> Awaitable[Response]: ...


async def send_authenticated(auth: Credentials, request: Request, send: SendWithHeaders) -> Response:
    """Send a request with credentials that expire, and send it once more with others if the server refuses them.

    A streamed body that has started is not sent again.
    """
    headers = await auth.headers(send)
    response = await send(request, headers)
    has_started = isinstance(request.body, RequestStream) and request.body.has_started
    # Once only: credentials that are fresh and refused will be refused again.
    if response.status == 401 and not has_started and auth.invalidate(headers):
        response = await send(request, await auth.headers(send))
    auth.update_cookies(_set_cookies(response))
    return response


def _set_cookies(response: Response) -> list[str]:
    """Return the ``Set-Cookie`` headers of an answer, of which there may be several."""
    several: Callable[[str, list[str]], list[str]] | None = getattr(response.headers, "getall", None)
    if several is not None:
        return several("set-cookie", [])
    return [text for name, text in response.headers.items() if name.lower() == "set-cookie"]


def _session_cookie(text: str) -> tuple[str, float] | None:
    """Return the value and the lifetime, in seconds, of a session cookie.

    None for any other cookie, and for a session cookie that the server deletes.
    """
    try:
        morsel = SimpleCookie(text).get("AuthSession")
    except CookieError:
        return None
    # A server deletes a session by a cookie without a value.
    if morsel is None or not morsel.value:
        return None
    age = morsel["max-age"]
    return morsel.value, float(age) if age.isdecimal() else _LIFETIME


def _stale_at(token: str) -> float:
    """Return the time, by this machine's clock, from which a token is too old to be sent; 0 if it does not say."""
    try:
        # The second part of a token has its claims (RFC 7519), and base64 in a URL has no padding. The signature is the
        # server's to check.
        claims = token.split(".")[1]
        parsed: Any = decode(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        now, end = time.time(), float(parsed["exp"])
    except (ValueError, LookupError, TypeError, binascii.Error):
        return 0.0
    return now + (end - now) * _FRESH_SHARE


def _bearer_header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {_check_secret('token', token)}"}


def _check_secret(what: str, value: object) -> str:
    """Return a secret. Raises ConfigurationError if no header can carry it; the message does not show the secret."""
    if not isinstance(value, str) or not value or not all("!" <= char <= "~" for char in value):
        raise ConfigurationError(f"the {what} must be a string of visible ASCII characters, without spaces")
    return value


def _check_header(what: str, value: str) -> str:
    if any(char in value for char in "\r\n\0"):
        raise ConfigurationError(f"the {what} cannot be sent in a header, because of a line break or NUL: {value!r}")
    return value


def _check_login(user: object, password: object) -> None:
    if not isinstance(user, str) or not isinstance(password, str):
        raise ConfigurationError("the user and the password must be strings")
