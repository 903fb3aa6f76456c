"""The settings of a server, with CouchDB's names and defaults, and its rules for pages of other origins (CORS).

The lists of headers and methods for CORS are those of CouchDB's ``chttpd_cors.hrl``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from couchmodel._embedded import limits

__all__ = ["NODE", "Configuration", "Cors"]

NODE: Final = "couchmodel@127.0.0.1"
"""The name of the one node."""

CORS_METHODS: Final = ("CONNECT", "COPY", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE")
"""Methods that a page of another origin may use."""

# fmt: off
CORS_REQUEST_HEADERS: Final = frozenset((
    "accept", "accept-language", "authorization", "content-length", "content-range", "content-type", "destination",
    "expires", "if-match", "last-modified", "origin", "pragma", "x-couch-full-commit", "x-couch-id", "x-couch-persist",
    "x-couchdb-vhost-path", "x-couchdb-www-authenticate", "x-http-method-override", "x-requested-with",
))
"""Request headers that a page of another origin may send."""
# fmt: on

CORS_EXPOSED_HEADERS: Final = (
    "accept-ranges",
    "etag",
    "server",
    "x-couch-request-id",
    "x-couch-update-newrev",
    "x-couchdb-body-time",
)
"""Response headers that a page of another origin may read, beside the simple ones in the response."""

_SIMPLE: Final = frozenset(("cache-control", "content-language", "content-type", "expires", "last-modified", "pragma"))
"""Response headers that browsers let every page read."""

_SIMPLE_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
"""Content types for which CouchDB treats ``content-type`` as a simple header."""


@dataclass(frozen=True, slots=True)
class Cors:
    """The rules for pages of other origins (cross-origin resource sharing).

    ``origins`` are the origins whose pages are allowed; ``"*"`` stands for all. With ``credentials`` browsers send
    their cookies or passwords for the server along. ``max_age`` is for how many seconds a browser may keep the
    response to a preflight request.
    """

    origins: tuple[str, ...]
    credentials: bool = False
    methods: tuple[str, ...] = CORS_METHODS
    headers: frozenset[str] = CORS_REQUEST_HEADERS
    max_age: int = 600

    def preflight(self, request_headers: Mapping[str, str]) -> dict[str, str] | None:
        """Return the headers of the response to a preflight request, or None if it asks for something not allowed."""
        method = request_headers.get("access-control-request-method")
        cors_headers = self._origin_headers(request_headers.get("origin"))
        if cors_headers is None or method not in self.methods:
            return None
        header_names = request_headers.get("access-control-request-headers", "")
        if not {name.strip().lower() for name in header_names.split(",") if name.strip()} <= self.headers:
            return None
        return {
            **cors_headers,
            "access-control-max-age": str(self.max_age),
            "access-control-allow-methods": ", ".join(self.methods),
            "access-control-allow-headers": header_names,
        }

    def headers_for(self, request_headers: Mapping[str, str], response_headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers to add to a response; none if the request's origin is missing or not allowed."""
        cors_headers = self._origin_headers(request_headers.get("origin"))
        if cors_headers is None:
            return {}
        exposed = [name for name in response_headers if name in _SIMPLE and name != "content-type"]
        if response_headers.get("content-type", "").lower() in _SIMPLE_TYPES:
            exposed.append("content-type")
        else:
            # The order of `chttpd_cors:maybe_apply_headers`.
            exposed.insert(0, "content-type")
        return {**cors_headers, "access-control-expose-headers": ", ".join([*exposed, *CORS_EXPOSED_HEADERS])}

    def allows(self, origin: str) -> bool:
        """Return True if pages of an origin may use the server."""
        return origin.isascii() and ("*" in self.origins or origin in self.origins)

    def _origin_headers(self, origin: str | None) -> dict[str, str] | None:
        if origin is None or not self.allows(origin):
            return None
        # The origin itself and never `*`, which browsers refuse together with credentials. `vary` keeps a cache from
        # giving the answer for one origin to another.
        cors_headers = {"access-control-allow-origin": origin, "vary": "Origin"}
        return {**cors_headers, "access-control-allow-credentials": "true"} if self.credentials else cors_headers


@dataclass(slots=True)
class Configuration:
    """The configuration of a server.

    ``admins`` are passwords by name, hashed or not: :meth:`Authentication.open` hashes them. ``session_timeout`` is in
    seconds. ``secret`` signs the cookies of sessions; None means one that is generated and stored. ``jwt_keys`` are the
    keys of JSON Web Tokens by their names in CouchDB, such as ``hmac:_default``. ``proxy_secret`` turns authentication
    by a proxy on; an empty one trusts every client that claims to be the proxy. ``cors`` is None if pages of other
    origins may not use the server. ``max_request_size`` is in bytes. ``lockout`` refuses an account for a while after
    too many wrong passwords. ``utils`` is the folder of a web interface.
    """

    admins: Mapping[str, str] = field(default_factory=dict, repr=False)
    require_valid_user: bool = False
    session_timeout: int = limits.SESSION_SECONDS
    secure_cookies: bool = False
    secret: str | None = field(default=None, repr=False)
    jwt_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    jwt_required_claims: tuple[str, ...] = ("exp",)
    jwt_roles_claim: str = "_couchdb.roles"
    proxy_secret: str | None = field(default=None, repr=False)
    cors: Cors | None = None
    max_request_size: int = limits.REQUEST_BYTES
    lockout: bool = True
    utils: Path | None = None
