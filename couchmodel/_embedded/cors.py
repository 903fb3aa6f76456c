"""Cross-origin requests: which pages of other origins may use the server, and what their browsers are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Cors"]

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
