"""What a server tells of itself and of what it is doing."""

from typing import cast

from couchmodel.engine._io.session import Session
from couchmodel.errors import NotFoundError, UnavailableError
from couchmodel.types import ActiveTask, Membership

__all__ = ["active_tasks", "is_up", "membership"]


async def active_tasks(session: Session) -> list[ActiveTask]:
    """What the server is doing: compacting, indexing, replicating. Raises UnauthorizedError, ForbiddenError."""
    return cast(list[ActiveTask], await session.get(("_active_tasks",)))


async def is_up(session: Session) -> bool:
    """Whether the server takes requests; it does not while it starts, stops, or is put into maintenance."""
    try:
        answer = await session.get(("_up",))
    except (UnavailableError, NotFoundError):  # 404 is what CouchDB says in maintenance mode
        return False
    return bool(answer.get("status") == "ok")


async def membership(session: Session) -> Membership:
    """The nodes of the cluster. Raises UnauthorizedError, ForbiddenError."""
    return cast(Membership, await session.get(("_membership",)))
