"""Requests about the state of a server."""

from typing import cast

from couchmodel.engine._io.session import Session
from couchmodel.errors import NotFoundError, UnavailableError
from couchmodel.types import ActiveTask, Membership

__all__ = ["active_tasks", "is_up", "membership"]


async def active_tasks(session: Session) -> list[ActiveTask]:
    """Return the tasks that the server is running. Raises UnauthorizedError, ForbiddenError."""
    return cast(list[ActiveTask], await session.get(("_active_tasks",)))


async def is_up(session: Session) -> bool:
    """Return True if the server takes requests. It does not while it starts, stops, or is in maintenance mode."""
    try:
        answer = await session.get(("_up",))
    except (UnavailableError, NotFoundError):  # CouchDB answers 404 in maintenance mode
        return False
    return bool(answer.get("status") == "ok")


async def membership(session: Session) -> Membership:
    """Return the nodes of the cluster. Raises UnauthorizedError, ForbiddenError."""
    return cast(Membership, await session.get(("_membership",)))
