"""What is settled about a server by whoever starts it, with CouchDB's names and defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from couchmodel._embedded.cors import Cors

__all__ = ["MAX_REQUEST", "SESSION", "Configuration"]

MAX_REQUEST: Final = 4_294_967_296
"""Bytes of a request body: CouchDB's ``max_http_request_size``."""

SESSION: Final = 600
"""Seconds that the cookie of a session lives."""


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
