"""The ways to reach a CouchDB: :func:`open_transport` picks one by URL.

- ``http`` sends over HTTP. ``retries`` decides what is sent again and how long to wait, by the settings of
  ``retry_policy``. ``credentials`` has the schemes of authentication, cookie sessions among them.
- ``embedded`` calls the embedded store in this process.
"""

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from couchmodel._wire.messages import Request, Response, Transport
from couchmodel.errors import ConfigurationError
from couchmodel.transports.credentials import (
    BasicAuth,
    CookieAuth,
    Credentials,
    JWTAuth,
    ProxyAuth,
    credentials_of,
)
from couchmodel.transports.http import HTTPTransport, redact
from couchmodel.transports.retry_policy import Patience, RetryPolicy

if TYPE_CHECKING:
    from couchmodel.transports.embedded import EmbeddedTransport

__all__ = [
    "BasicAuth",
    "CookieAuth",
    "Credentials",
    "EmbeddedTransport",
    "HTTPTransport",
    "JWTAuth",
    "Patience",
    "ProxyAuth",
    "Request",
    "Response",
    "RetryPolicy",
    "Transport",
    "open_transport",
]

_FORMS: Final = "http://HOST:PORT, https://HOST:PORT, sqlite:FILE or memory:"

_SUFFIXES: Final = (".couch", ".db", ".sqlite", ".sqlite3")
"""The suffixes of files that are taken for embedded stores in error messages."""


def __getattr__(name: str) -> Any:
    # The embedded store takes longer to import than all the rest, so it is imported when one is opened.
    if name == "EmbeddedTransport":
        from couchmodel.transports.embedded import EmbeddedTransport  # noqa: PLC0415

        return EmbeddedTransport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_transport(url: str, user: str | None = None, password: str | None = None, **options: Any) -> Transport:
    """Return a transport for a URL. Nothing is opened or sent before the first request.

    With credentials, the client is one of the users of an embedded store. The other ``options`` are those of
    :class:`HTTPTransport`; an embedded store ignores them. Raises ConfigurationError for a URL of an unknown form.
    """
    scheme, colon, rest = url.partition(":")
    match scheme.lower():
        case "http" | "https":
            return HTTPTransport(url, user=user, password=password, **options)
        case "memory" if colon and not rest.strip("/"):
            return _embedded(None, _credentials(user, password, options))
        case "sqlite" if rest and not rest.startswith("//"):
            return _embedded(rest, _credentials(user, password, options))
        # SQLAlchemy writes sqlite:///FILE, which would begin at the root of the disk here.
        case "sqlite":
            message = f"{redact(url)!r} names no file: write sqlite:FILE with a plain path, such as sqlite:kitchen.db"
        case _ if _is_path(url):
            message = f"{url!r} has no scheme: did you mean 'sqlite:{url}'? Known are {_FORMS}"
        # ``localhost:5984`` has a colon, and no scheme before it.
        case _ if not colon or rest.partition("/")[0].isdecimal():
            message = f"{redact(url)!r} has no scheme: did you mean 'http://{redact(url)}'? Known are {_FORMS}"
        case _:
            message = f"the scheme of {redact(url)!r} is unknown: known are {_FORMS}"
    raise ConfigurationError(message)


def _is_path(text: str) -> bool:
    """Return True for what looks like the path of a file: by its suffix, its beginning or its drive."""
    if ":" in text:
        return text[1:3] == ":\\"
    return text.startswith((".", "/", "~")) or PurePath(text).suffix in _SUFFIXES


def _embedded(path: str | None, auth: Credentials | None) -> Transport:
    from couchmodel.transports.embedded import EmbeddedTransport  # noqa: PLC0415

    return EmbeddedTransport(path, auth)


def _credentials(user: str | None, password: str | None, options: dict[str, Any]) -> Credentials | None:
    auth = credentials_of(user, password, options.get("cookie"), options.get("auth"))
    if isinstance(auth, JWTAuth | ProxyAuth):
        raise ConfigurationError(
            f"an embedded store does not accept {type(auth).__name__}: use BasicAuth or CookieAuth"
        )
    return auth
