"""Which requests may be sent again, and when.

A request is repeated where a repeat cannot do harm, or where the server's answer to the repeat tells whether the first
try was carried out:

- nothing was sent, or the server answered 429: any request;
- a read, and a write of replicated revisions (``new_edits=false``), which changes nothing the second time;
- a PUT or DELETE with a revision: its repeat is carried out or answered 409, and never carried out twice.

A 409 then has one of two meanings: another client's write was first, or the first try of this one was carried out. What
is stored tells the former, where it differs from what was sent. Where it does not, another client may have written the
same, so nobody can tell, and the error says so. A body that is streamed and has begun is never sent again.
"""

import email.utils
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, retry_if_result, stop_after_attempt
from tenacity.wait import wait_random_exponential

from couchmodel._wire.messages import Request, Response, decode
from couchmodel._wire.outgoing import Outgoing
from couchmodel._wire.refusals import asked
from couchmodel.errors import ProtocolError, RequestTimeoutError, TLSError, TransportError
from couchmodel.transports.retry_policy import RetryPolicy

__all__ = ["BUSY", "Repeats", "is_harmless", "is_told_apart"]

BUSY: Final = frozenset((429, 502, 503, 504))
"""Answers of a server, or of a proxy before it, that has no time now."""

_READS: Final = frozenset(
    (
        *("_all_docs", "_bulk_get", "_changes", "_design_docs", "_explain", "_find", "_local_docs"),
        *("_missing_revs", "_nouveau", "_revs_diff", "_search", "_view"),
    )
)
"""What a POST asks by its body, without changing anything."""


def is_harmless(request: Request) -> bool:
    """Whether a request changes nothing, or nothing the second time."""
    match request.method:
        case "GET" | "HEAD":
            return True
        case "POST":
            return request.path == ("_dbs_info",) or _operation(request.path) in _READS
        case "PUT":
            return request.query.get("new_edits") == "false"
        case _:
            return False


def is_told_apart(request: Request) -> bool:
    """Whether the answer to a repeat of this write tells whether the first try was carried out."""
    if request.method not in ("PUT", "DELETE") or len(request.path) < 2 or "batch" in request.query:
        return False
    if request.path[1].startswith("_") and request.path[1] != "_design":
        return False
    return _base(request) is not None


class Repeats:
    """Repeats requests as a policy says."""

    def __init__(self, policy: RetryPolicy, send: Callable[[Request], Awaitable[Response]]) -> None:
        """``send`` is one try."""
        self._policy = policy
        self._send = send
        self._backoff = wait_random_exponential(multiplier=policy.backoff, max=policy.backoff_max)
        self._stop = stop_after_attempt(policy.attempts)

    async def after(self, request: Request, first: Response | TransportError) -> Response:
        """The answer to a request whose first try ended so."""
        tries = _Tries(request, first, self._send, self._policy.retry_after_max)
        retrying = AsyncRetrying(
            stop=self._stop,
            wait=self._wait,
            retry=retry_if_exception(tries.may_follow_error) | retry_if_result(tries.may_follow),
            retry_error_callback=_last,
        )
        try:
            response: Response = await retrying(tries.next)
        except TransportError as error:
            # A connection that was refused at last says nothing of the tries before it.
            if tries.in_doubt is not None and error.carried_out is False:
                raise _unknown(request, "no answer came to it, nor to a repeat") from error
            raise
        if tries.in_doubt is not None and response.status >= 300:
            await self._settle(request, response, tries.in_doubt)
        return response

    def _wait(self, state: RetryCallState) -> float:
        if state.outcome is not None and not state.outcome.failed:
            wait = _retry_after(state.outcome.result())
            if wait is not None:
                return wait
        return self._backoff(state)

    async def _settle(self, request: Request, response: Response, doubt: TransportError | Response) -> None:
        """Raise ProtocolError unless it is certain that no try was carried out."""
        if response.status == 409 and await self._is_anothers(request):
            return
        cause = doubt if isinstance(doubt, TransportError) else None
        raise _unknown(request, f"one try got no answer, and the next was answered {response.status}") from cause

    async def _is_anothers(self, request: Request) -> bool:
        """Whether the revision that followed the one this write is based on certainly has another content."""
        if request.method != "PUT" or not isinstance(request.body, bytes) or not _is_document(request.path):
            return False
        try:
            stored = await self._send(Request("GET", request.path, {"revs": "true"}))
            theirs: dict[str, Any] = decode(stored.body)
            generation, ids = theirs["_revisions"]["start"], theirs["_revisions"]["ids"]
        except (TransportError, ValueError, LookupError, TypeError):
            return False
        follows = len(ids) > 1 and f"{generation - 1}-{ids[1]}" == _base(request)
        return follows and _content(theirs) != _content(decode(request.body))


class _Tries:
    """The tries of one request. ``in_doubt`` is the end of one that may have been carried out all the same."""

    def __init__(
        self,
        request: Request,
        first: Response | TransportError,
        send: Callable[[Request], Awaitable[Response]],
        longest: float,
    ) -> None:
        self._request = request
        self._first: Response | TransportError | None = first
        self._send = send
        self._longest = longest
        self.in_doubt: Response | TransportError | None = None

    async def next(self) -> Response:
        """The end of the first try, which has been made, and then of one more each time."""
        first, self._first = self._first, None
        if first is None:
            return await self._send(self._request)
        if isinstance(first, TransportError):
            raise first
        return first

    def may_follow_error(self, error: BaseException) -> bool:
        """Whether there may be another try after this error.

        Whoever has waited for a silent server has waited long enough, and a certificate does not change.
        """
        if not isinstance(error, TransportError) or isinstance(error, RequestTimeoutError | TLSError):
            return False
        return self._has_body() and (error.carried_out is False or self._may_repeat(error))

    def may_follow(self, response: Response) -> bool:
        """Whether there may be another try after this answer."""
        if response.status not in BUSY or not self._has_body() or (_retry_after(response) or 0) > self._longest:
            return False
        return response.status == 429 or self._may_repeat(response)

    def _has_body(self) -> bool:
        body = self._request.body
        return not (isinstance(body, Outgoing) and body.begun)

    def _may_repeat(self, end: Response | TransportError) -> bool:
        if is_harmless(self._request):
            return True
        if is_told_apart(self._request):
            self.in_doubt = end
            return True
        return False


def _operation(path: tuple[str, ...]) -> str:
    """The segment that says what is done in a database, by the place where no id can stand."""
    rest = path[3:] if path[1:2] == ("_partition",) else path[1:]
    rest = rest[2:] if rest[:1] == ("_design",) else rest
    return rest[0] if rest else ""


def _base(request: Request) -> str | None:
    """The revision that a write is based on."""
    if rev := request.query.get("rev") or request.headers.get("if-match", "").strip('"'):
        return rev
    if not isinstance(request.body, bytes) or not _is_document(request.path):
        return None
    try:
        document = decode(request.body)
    except ValueError:
        return None
    return document.get("_rev") if isinstance(document, dict) else None


def _is_document(path: tuple[str, ...]) -> bool:
    return len(path) == (3 if path[1] == "_design" else 2)


def _content(document: Any) -> dict[str, Any]:
    """The members that are stored as they were sent."""
    return {key: value for key, value in document.items() if not key.startswith("_")}


def _retry_after(response: Response) -> float | None:
    """The seconds that a server asks to wait, where it says so: as a number, or as the time to wait for."""
    text = response.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _last(state: RetryCallState) -> Any:
    """What the last try ended with, once there is no patience for more."""
    return None if state.outcome is None else state.outcome.result()


def _unknown(request: Request, why: str) -> ProtocolError:
    return ProtocolError(f"it is unknown whether the write was carried out: {why} ({asked(request)})")
