"""The steps of a plan."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from couchmodel._retry import Backoff, retry
from couchmodel.errors import RequestTimeoutError

__all__ = ["Step", "wait_until_built"]

_ATTEMPTS: Final = 1_000
"""How often an index is asked for while it is built. CouchDB goes on building after a request has timed out."""


class Step(NamedTuple):
    """A change of a database: a sentence, and the function that makes the change."""

    description: str
    run: Callable[[], Awaitable[object]]


async def wait_until_built(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask for an index that was just declared until it is built, so that no user has to wait for that.

    ``ask`` sends a request that the index answers. A build of many documents takes longer than one request may.
    """
    await retry(
        ask,
        attempts=_ATTEMPTS,
        backoff=Backoff(0.1, longest=1.0),
        is_temporary_error=lambda error: isinstance(error, RequestTimeoutError),
    )
