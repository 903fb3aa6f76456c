"""Refuse requests by which a web page of another site, in a browser on the same machine, would change the store.

A browser sends the HTML forms of any page to any server, together with its cookies for that server. It sends a CORS
preflight request first only for what no form can send: a method other than POST, or JSON. :class:`Cors` answers those.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from couchmodel._embedded.settings import Cors
from couchmodel._wire.messages import JSON_TYPE, Request
from couchmodel.errors import ForbiddenError

__all__ = ["check_host", "check_origin"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def check_origin(request: Request, cors: Cors | None) -> None:
    """Raise ForbiddenError if a page of another site sent the request and no browser precedes it by a preflight.

    An origin that ``cors`` allows may send any request.
    """
    headers = request.headers
    # A GET changes nothing, and a browser precedes every other request of a foreign page by a preflight.
    if request.method != "POST" or headers.get("content-type", "").partition(";")[0].strip() == JSON_TYPE:
        return
    origin = headers.get("origin")
    if origin is not None and cors is not None and cors.allows(origin):
        return
    # Programs that are no browsers send neither header.
    is_foreign = (
        headers.get("sec-fetch-site") == "cross-site" if origin is None else not _is_same_origin(origin, headers)
    )
    if is_foreign:
        sender = "another site" if origin in (None, "null") else origin
        raise ForbiddenError(f"A page of {sender} may not change anything here, unless it is let in as with --cors.")


def check_host(asked: str, host: str) -> None:
    """Raise ForbiddenError if the Host header ``asked`` names another machine. ``host`` is where the server listens.

    This is the defence against DNS rebinding. An attacker lets the name of their own site resolve to 127.0.0.1, so
    their page has the same origin as the server. Only the Host header then shows the attacker's name.
    """
    if not _is_local(asked, host):
        raise ForbiddenError("Without an administrator the server answers on this machine only, as localhost.")


def _is_same_origin(origin: str, headers: Mapping[str, str]) -> bool:
    """Return True if a page's origin is the server, as the client addressed it. A proxy may leave out the port."""
    page = _host_and_port(origin)
    server = _host_and_port("//" + (headers.get("x-forwarded-host") or headers.get("host", "")))
    return page is not None and server is not None and page[0] == server[0] and server[1] in (None, page[1])


def _host_and_port(url: str) -> tuple[str, int | None] | None:
    """Return the host and the port of a URL, or None if it has no host.

    A URL without a port has the default port of its scheme; without a scheme as well, its port is None.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None


@lru_cache(maxsize=256)
def _is_local(asked: str, host: str) -> bool:
    """Return True if the Host header has a name that only programs on this machine use for it.

    Such names are localhost, its subdomains, loopback addresses, and the name on which the server listens.
    """
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
