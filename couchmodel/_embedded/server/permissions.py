"""Who may ask what of the server and of its databases.

What is asked is a path and a method here. Who may write what is decided where it is written: see :mod:`users`.
"""

from typing import Final

from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request
from couchmodel._wire.users import User
from couchmodel.errors import UnauthorizedError

__all__ = ["admit"]

_PUBLIC: Final = frozenset(("_up", "_uuids", "_session"))
_METRICS: Final = frozenset(("_prometheus", "_stats", "_system"))
_SYSTEM: Final = frozenset(("_replicator", "_users"))

_SERVER_ADMINS: Final = frozenset(("_purge", "_purged_infos_limit", "_sync_shards"))
"""Endpoints of a database that only administrators of the server may use."""

_DATABASE_ADMINS: Final = frozenset(("_compact", "_view_cleanup"))


def admit(store: Store, request: Request) -> None:
    """Let a request pass that its user may make.

    Raises:
        UnauthorizedError, ForbiddenError: they may not.
        NotFoundError: there is no such database.
    """
    path, user = request.path, request.user
    if user.is_admin or not path:
        return
    first = path[0]
    if first[:1] == "_" and first not in _SYSTEM:
        _admit_to_server(request, user, first)
    else:
        _admit_to_database(store, request, first)


def _admit_to_server(request: Request, user: User, first: str) -> None:
    path = request.path
    if first == "_replicate":
        if user.name is None:
            raise UnauthorizedError("You are not an authenticated user")
    elif first == "_node" and len(path) > 2 and path[2] in _METRICS:
        if "_metrics" not in user.roles:
            raise UnauthorizedError("You are not a server admin or read-only metrics user")
    elif first not in _PUBLIC and not (first == "_utils" and request.method in ("GET", "HEAD")):
        raise _no_server_admin()


def _admit_to_database(store: Store, request: Request, first: str) -> None:
    path, user = request.path, request.user
    second = path[1] if len(path) > 1 else ""
    if not second and request.method in ("PUT", "DELETE"):
        raise _no_server_admin()
    if second in _SERVER_ADMINS or (first in _SYSTEM and second in ("_all_docs", "_changes")):
        raise _no_server_admin()
    security = store.database(first).security
    security.require_member(user)
    if second in _DATABASE_ADMINS and not security.is_admin(user):
        raise UnauthorizedError("You are not a server or db admin.")


def _no_server_admin() -> UnauthorizedError:
    return UnauthorizedError("You are not a server admin.")
