"""The settings of a server, with CouchDB's names and defaults, and its rules for pages of other origins (CORS)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["MAX_REQUEST", "SESSION", "Configuration", "Cors"]

MAX_REQUEST: Final = 4_294_967_296
"""Bytes of a request body: CouchDB's ``max_http_request_size``."""

SESSION: Final = 600
"""Seconds that the cookie of a session lives."""

METHODS: Final = ("CONNECT", "COPY", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE")

# fmt: off
HEADERS: Final = frozenset((
    "accept", "accept-language", "authorization", "content-length", "content-range", "content-type", "destination",
    "expires", "if-match", "last-modified", "origin", "pragma", "x-couch-full-commit", "x-couch-id", "x-couch-persist",
    "x-couchdb-vhost-path", "x-couchdb-www-authenticate", "x-http-method-override", "x-requested-with",
))
"""Headers that a page may send."""
# fmt: on

EXPOSED: Final = (
    "accept-ranges",
    "etag",
    "server",
    "x-couch-request-id",
    "x-couch-update-newrev",
    "x-couchdb-body-time",
)
"""Headers of an answer that a page may read, beside those that it always may and that the answer has."""

_SIMPLE: Final = frozenset(("cache-control", "content-language", "content-type", "expires", "last-modified", "pragma"))
_SIMPLE_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


@dataclass(frozen=True, slots=True)
class Cors:
    """What is allowed to the pages of ``origins``; ``"*"`` are all of them.

    With ``credentials`` a browser sends along the cookie or the password that it has for the server.
    """

    origins: tuple[str, ...]
    credentials: bool = False
    methods: tuple[str, ...] = METHODS
    headers: frozenset[str] = HEADERS
    max_age: int = 600

    def preflight(self, asked: Mapping[str, str]) -> dict[str, str] | None:
        """The headers of the answer to a browser that asks beforehand; None where it asks for what is not allowed."""
        method = asked.get("access-control-request-method")
        allowed = self._allowed(asked.get("origin"))
        if allowed is None or method not in self.methods:
            return None
        wanted = asked.get("access-control-request-headers", "")
        if not {name.strip().lower() for name in wanted.split(",") if name.strip()} <= self.headers:
            return None
        return {
            **allowed,
            "access-control-max-age": str(self.max_age),
            "access-control-allow-methods": ", ".join(self.methods),
            "access-control-allow-headers": wanted,
        }

    def headers_for(self, asked: Mapping[str, str], answered: Mapping[str, str]) -> dict[str, str]:
        """What is to be added to the headers of an answer."""
        allowed = self._allowed(asked.get("origin"))
        if allowed is None:
            return {}
        readable = [name for name in answered if name in _SIMPLE and name != "content-type"]
        if answered.get("content-type", "").lower() in _SIMPLE_TYPES:
            readable.append("content-type")
        else:
            readable.insert(0, "content-type")
        return {**allowed, "access-control-expose-headers": ", ".join([*readable, *EXPOSED])}

    def allows(self, origin: str) -> bool:
        """Whether the pages of an origin are let in."""
        return origin.isascii() and ("*" in self.origins or origin in self.origins)

    def _allowed(self, origin: str | None) -> dict[str, str] | None:
        if origin is None or not self.allows(origin):
            return None
        allowed = {"access-control-allow-origin": origin, "vary": "Origin"}
        return {**allowed, "access-control-allow-credentials": "true"} if self.credentials else allowed


@dataclass(slots=True)
class Configuration:
    """The configuration of a server.

    ``admins`` are names and passwords, hashed or not: :meth:`Authentication.open` hashes them. ``jwt_keys`` are keys by
    their names as CouchDB has them, such as ``hmac:_default``. ``proxy_secret`` turns authentication by a proxy on;
    an empty one trusts whoever says to be one. ``utils`` is the folder of a web interface.
    """

    admins: Mapping[str, str] = field(default_factory=dict, repr=False)
    require_valid_user: bool = False
    session_timeout: int = SESSION
    secure_cookies: bool = False
    secret: str | None = field(default=None, repr=False)
    jwt_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    jwt_required_claims: tuple[str, ...] = ("exp",)
    jwt_roles_claim: str = "_couchdb.roles"
    proxy_secret: str | None = field(default=None, repr=False)
    cors: Cors | None = None
    max_request_size: int = MAX_REQUEST
    lockout: bool = True
    utils: Path | None = None
