"""Write the request object: a request as functions of design documents get it."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from couchmodel._embedded.server.exchange import Exchange
from couchmodel._wire.messages import Request, encode, request_target

__all__ = ["request_object"]

FORM: Final = "application/x-www-form-urlencoded"
"""The content type of a body that functions get parsed, as ``req.form``."""

SECRET: Final = frozenset(("authorization", "cookie", "x-auth-couchdb-token"))
"""Headers that functions do not get. The author of a function could use them to act as the user of the request."""


def request_object(exchange: Exchange, body: object, info: Mapping[str, Any], id: str | None = None) -> bytes:
    """Return the request object ``req`` of a function, as JSON.

    ``info`` is the description of the database, ``id`` the document of the request. ``body`` is the body of the
    request as text, or its decoded value.
    """
    request, user, database = exchange.request, exchange.user, exchange.database
    members = {
        "info": info,
        "uuid": exchange.store.uuids.next(),
        "id": id,
        "method": "GET" if request.method == "HEAD" else request.method,
        "requested_path": request.path,
        "path": request.path,
        "raw_path": request_target(request.path, request.query),
        "query": dict(request.query),
        "headers": {name.title(): value for name, value in request.headers.items() if name not in SECRET},
        "body": body,
        "peer": exchange.client.address or "127.0.0.1",  # a client in the same process has no address
        "form": _form(request, body),
        # Empty, since the cookie of a session is a secret: see ``SECRET``.
        "cookie": {},
        "userCtx": {"db": database.name, "name": user.name, "roles": list(user.roles)},
        "secObj": database.security.document,
    }
    return encode(members)


def _form(request: Request, body: object) -> dict[str, str]:
    """Return the fields of an HTML form, empty for other bodies."""
    if not isinstance(body, str) or not request.headers.get("content-type", "").startswith(FORM):
        return {}
    return dict(parse_qsl(body, keep_blank_values=True))
