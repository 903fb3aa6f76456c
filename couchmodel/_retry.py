"""The loop of all retries: it calls a function until its outcome is final, with a wait after each attempt.

The rules for requests are in ``transports.retries``, those of a replication in ``_replication.peer`` and ``transfer``.
"""

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, retry_if_result, stop_after_attempt

__all__ = ["BUSY_STATUSES", "Backoff", "retry"]

T = TypeVar("T")

BUSY_STATUSES: Final = frozenset((429, 502, 503, 504))
"""Statuses of a server, or of a proxy before it, that is overloaded or not there at the moment."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits between attempts, in seconds: ``first`` after one failure, twice as long after each further one.

    No wait is longer than ``longest``. With ``jitter``, each is a random part of its length, so that many clients of
    one server do not return at once.
    """

    first: float
    longest: float = math.inf
    jitter: bool = False

    def wait(self, failures: int) -> float:
        """Return the wait after this many failures in a row, 1 or more."""
        # The exponent is bounded, since a float has no 2**1024.
        seconds = min(self.longest, self.first * 2 ** min(failures - 1, 64))
        # The wait is any part of its length, from nothing on. AWS calls that full jitter, and found that it takes the
        # fewest calls.
        return random.uniform(0, seconds) if self.jitter else seconds  # noqa: S311 - a wait need not be secret


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int,
    backoff: Backoff,
    is_temporary_error: Callable[[BaseException], bool],
    is_temporary_result: Callable[[T], bool] = lambda _: False,
    requested_wait: Callable[[T], float | None] = lambda _: None,
    before_wait: Callable[[BaseException | T], None] = lambda _: None,
) -> T:
    """Call a function until its outcome is not temporary, at most ``attempts`` times. Return or raise the last outcome.

    ``requested_wait`` returns the wait that a result asks for, in seconds, or None. ``before_wait`` is called with each
    outcome after which the function is called again.
    """

    async def attempt() -> T:  # tenacity awaits only what a coroutine function returns
        return await call()

    def wait(state: RetryCallState) -> float:
        outcome = state.outcome
        requested = None if outcome is None or outcome.failed else requested_wait(outcome.result())
        return backoff.wait(state.attempt_number) if requested is None else requested

    def report(state: RetryCallState) -> None:
        if (outcome := state.outcome) is not None:
            before_wait(outcome.exception() or outcome.result())

    retrying = AsyncRetrying(
        stop=stop_after_attempt(attempts),
        wait=wait,
        retry=retry_if_exception(is_temporary_error) | retry_if_result(is_temporary_result),
        before_sleep=report,
        retry_error_callback=_last_outcome,
    )
    try:
        result: T = await retrying(attempt)
        return result
    finally:
        retrying.iter_state.reset()  # its actions refer to the object itself: without this, each call leaves a cycle


def _last_outcome(state: RetryCallState) -> Any:
    """Return the result of the last call, or raise its error."""
    return None if state.outcome is None else state.outcome.result()
