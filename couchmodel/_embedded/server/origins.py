"""Where a request comes from: pages of other sites, in a browser on the same machine, may not change anything.

A browser sends a plain form of any page anywhere, with the cookies that it has for there. It asks beforehand only for
what no form can send: another method than POST, or JSON. What it may then do is decided by :mod:`cors`.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from couchmodel._embedded.settings import Cors
from couchmodel._wire.messages import JSON_TYPE, Request
from couchmodel.errors import ForbiddenError

__all__ = ["check_name", "check_origin"]

_PORTS: Final = {"http": 80, "https": 443}


def check_origin(request: Request, cors: Cors | None) -> None:
    """Raise ForbiddenError for a change that a page of another site asks for, as far as no browser asks beforehand."""
    headers = request.headers
    if request.method != "POST" or headers.get("content-type", "").partition(";")[0].strip() == JSON_TYPE:
        return
    origin = headers.get("origin")
    if origin is not None and cors is not None and cors.allows(origin):
        return
    is_foreign = headers.get("sec-fetch-site") == "cross-site" if origin is None else not _is_same(origin, headers)
    if is_foreign:
        sender = "another site" if origin in (None, "null") else origin
        raise ForbiddenError(f"A page of {sender} may not change anything here, unless it is let in as with --cors.")


def check_name(asked: str, host: str) -> None:
    """Raise ForbiddenError where a Host header names another machine, ``host`` being the name of this one.

    A browser that is told that a name of somebody else's is this machine's lets their pages in: nothing but the name
    that they ask for gives them away.
    """
    if not _is_here(asked, host):
        raise ForbiddenError("Without an administrator the server answers on this machine only, as localhost.")


def _is_same(origin: str, headers: Mapping[str, str]) -> bool:
    """Whether a page's origin is the server as the client has addressed it. A proxy may leave out the port."""
    page = _address(origin)
    here = _address("//" + (headers.get("x-forwarded-host") or headers.get("host", "")), urlsplit(origin).scheme)
    return page is not None and here is not None and page[0] == here[0] and here[1] in (None, page[1])


def _address(url: str, scheme: str = "") -> tuple[str, int | None] | None:
    """Return the host and the port of a URL; None where it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port if scheme else parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None


@lru_cache(maxsize=256)
def _is_here(asked: str, host: str) -> bool:
    """Whether the Host header names this machine, as nobody but its own programs calls it."""
    try:
        name = urlsplit(f"//{asked}").hostname or ""
    except ValueError:
        return False
    if name in (host.lower(), "localhost") or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
