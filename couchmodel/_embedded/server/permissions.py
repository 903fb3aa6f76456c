"""Check whether a user may send a request, by its path and its method.

Whether a user may write a document depends on the document, and is checked where it is written: see ``auth.users``.
"""

from typing import Final

from couchmodel._embedded.server.exchange import Exchange
from couchmodel._wire.messages import Request
from couchmodel._wire.users import User
from couchmodel.errors import UnauthorizedError

__all__ = ["admit"]

_PUBLIC: Final = frozenset(("_up", "_uuids", "_session"))
"""Endpoints of the server that everybody may use."""

_METRICS: Final = frozenset(("_prometheus", "_stats", "_system"))
"""Endpoints of a node that users with the role ``_metrics`` may use too."""

_SYSTEM: Final = frozenset(("_replicator", "_users"))
"""Databases whose names begin with an underscore and whose lists and feeds are for administrators only."""

_SERVER_ADMINS: Final = frozenset(("_purge", "_purged_infos_limit", "_sync_shards"))
"""Endpoints of a database that only administrators of the server may use."""

_DATABASE_ADMINS: Final = frozenset(("_compact", "_view_cleanup"))
"""Endpoints of a database that its own administrators may use too."""


def admit(exchange: Exchange) -> None:
    """Return if the user may send the request, and raise an error if not.

    Raises:
        UnauthorizedError, ForbiddenError: the user may not send it.
        NotFoundError: the database does not exist.
    """
    path = exchange.request.path
    # Everybody may read `/`, which names the server and its version.
    if exchange.user.is_admin or not path:
        return
    first = path[0]
    if first[:1] == "_" and first not in _SYSTEM:
        _admit_to_server(exchange.request, exchange.user, first)
    else:
        _admit_to_database(exchange, first)


def _admit_to_server(request: Request, user: User, first: str) -> None:
    path = request.path
    if first == "_replicate":
        if user.name is None:
            raise UnauthorizedError("You are not an authenticated user")
    elif first == "_node" and len(path) > 2 and path[2] in _METRICS:
        if "_metrics" not in user.roles:
            raise UnauthorizedError("You are not a server admin or read-only metrics user")
    elif first not in _PUBLIC and not (first == "_utils" and request.method in ("GET", "HEAD")):
        raise _not_server_admin()


def _admit_to_database(exchange: Exchange, first: str) -> None:
    path, user = exchange.request.path, exchange.user
    second = path[1] if len(path) > 1 else ""
    # Databases are created and dropped by administrators of the server only.
    if not second and exchange.request.method in ("PUT", "DELETE"):
        raise _not_server_admin()
    if second in _SERVER_ADMINS or (first in _SYSTEM and second in ("_all_docs", "_changes")):
        raise _not_server_admin()
    security = exchange.database.security
    security.require_member(user)
    if second in _DATABASE_ADMINS and not security.is_admin(user):
        raise UnauthorizedError("You are not a server or db admin.")


def _not_server_admin() -> UnauthorizedError:
    return UnauthorizedError("You are not a server admin.")
