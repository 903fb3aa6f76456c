"""The retries of requests: which requests may be sent again, and when. It reads ``Retry-After``.

A request is sent again if that cannot do harm, or if the answer to the retry tells whether the first attempt was
carried out:

- nothing was sent, or the server answered 429: any request;
- a read, and a write of replicated revisions (``new_edits=false``), which changes nothing the second time;
- a PUT or DELETE with a revision: its retry is carried out or answered 409, and never carried out twice.

A 409 then has one of two meanings: another client's write was first, or the first attempt of this one was carried out.
If the stored document differs from the one that was sent, another client was first. If it does not, another client may
have written the same. So the outcome is unknown, and the error says so. A streamed body that has begun is never sent
again.
"""

import email.utils
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from couchmodel._retry import BUSY_STATUSES, Backoff, retry
from couchmodel._wire.answers import describe_request
from couchmodel._wire.messages import Request, Response, decode
from couchmodel.errors import ProtocolError, RequestTimeoutError, TLSError, TransportError
from couchmodel.transports.request_stream import RequestStream
from couchmodel.transports.retry_policy import RetryPolicy

__all__ = ["Retries", "is_conclusive", "is_idempotent"]

Send = Callable[[Request], Awaitable[Response]]

_READS: Final = frozenset(
    (
        *("_all_docs", "_bulk_get", "_changes", "_design_docs", "_explain", "_find", "_local_docs"),
        *("_missing_revs", "_nouveau", "_revs_diff", "_search", "_view"),
    )
)
"""Endpoints that read by POST."""


def is_idempotent(request: Request) -> bool:
    """Return True if a request changes nothing, or nothing the second time."""
    match request.method:
        case "GET" | "HEAD":
            return True
        case "POST":
            return request.path == ("_dbs_info",) or _operation(request.path) in _READS
        case "PUT":
            return request.query.get("new_edits") == "false"
        case _:
            return False


def is_conclusive(request: Request) -> bool:
    """Return True if the answer to a retry of a write tells whether the first attempt was carried out."""
    if request.method not in ("PUT", "DELETE") or len(request.path) < 2 or "batch" in request.query:
        return False
    # Local documents keep no history, and other endpoints have no revisions.
    if request.path[1].startswith("_") and request.path[1] != "_design":
        return False
    return _base_revision(request) is not None


class Retries:
    """The retries of requests by a policy."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._backoff = Backoff(policy.backoff, policy.backoff_max, jitter=True)

    async def retry(self, request: Request, first: Response | TransportError, send: Send) -> Response:
        """Send a request again as far as that is allowed, and return its last answer.

        ``first`` is the answer or the error of the first attempt, which has been made. ``send`` makes another one.

        Raises the TransportError of the last attempt, and ProtocolError if the outcome of a write is unknown.
        """
        attempts = _Attempts(request, first, send, self._policy.retry_after_max)
        try:
            response = await retry(
                attempts.next,
                attempts=self._policy.attempts,
                backoff=self._backoff,
                is_temporary_error=attempts.may_retry_error,
                is_temporary_result=attempts.may_retry_response,
                requested_wait=_retry_after,
            )
        except TransportError as error:
            # A connection that is refused at last says nothing about the attempts before it.
            if attempts.in_doubt is not None and error.carried_out is False:
                raise _unknown_outcome_error(request, "no answer came to it, nor to a retry") from error
            raise
        if attempts.in_doubt is not None and response.status >= 300:
            await _check_conflict(request, response, attempts.in_doubt, send)
        return response


async def _check_conflict(request: Request, response: Response, doubt: TransportError | Response, send: Send) -> None:
    """Raise ProtocolError unless it is certain that no attempt was carried out."""
    if response.status == 409 and await _is_write_of_other_client(request, send):
        return
    cause = doubt if isinstance(doubt, TransportError) else None
    raise _unknown_outcome_error(
        request, f"one try got no answer, and the next was answered {response.status}"
    ) from cause


async def _is_write_of_other_client(request: Request, send: Send) -> bool:
    """Return True if the successor of the revision that a write is based on has another content than the write."""
    if request.method != "PUT" or not isinstance(request.body, bytes) or not _is_document(request.path):
        return False
    try:
        stored = await send(Request("GET", request.path, {"revs": "true"}))
        document: dict[str, Any] = decode(stored.body)
        generation, ids = document["_revisions"]["start"], document["_revisions"]["ids"]
    except (TransportError, ValueError, LookupError, TypeError):
        return False
    # The revision after the base is the one that either attempt would have made.
    # Only a direct successor: a later revision may have been made from either attempt.
    follows = len(ids) > 1 and f"{generation - 1}-{ids[1]}" == _base_revision(request)
    return follows and _plain_members(document) != _plain_members(decode(request.body))


class _Attempts:
    """The attempts of one request.

    ``in_doubt`` is the answer or the error of an attempt that may have been carried out, or None.
    """

    def __init__(
        self,
        request: Request,
        first: Response | TransportError,
        send: Send,
        retry_after_max: float,
    ) -> None:
        self._request = request
        self._first: Response | TransportError | None = first
        self._send = send
        self._longest_wait = retry_after_max
        self.in_doubt: Response | TransportError | None = None

    async def next(self) -> Response:
        """Return or raise the result of the first attempt, which has been made; from then on, make another one."""
        first, self._first = self._first, None
        if first is None:
            return await self._send(self._request)
        if isinstance(first, TransportError):
            raise first
        return first

    def may_retry_error(self, error: BaseException) -> bool:
        """Return True if there may be another attempt after an error.

        A timeout allows none, as the caller has waited long enough, and neither does a bad certificate, which will not
        change.
        """
        if not isinstance(error, TransportError) or isinstance(error, RequestTimeoutError | TLSError):
            return False
        return self._can_send_body() and (error.carried_out is False or self._may_send_again(error))

    def may_retry_response(self, response: Response) -> bool:
        """Return True if there may be another attempt after an answer."""
        if (
            response.status not in BUSY_STATUSES
            or not self._can_send_body()
            or (_retry_after(response) or 0) > self._longest_wait
        ):
            return False
        # A server that answers 429 has refused the request without a look at it.
        return response.status == 429 or self._may_send_again(response)

    def _can_send_body(self) -> bool:
        body = self._request.body
        return not (isinstance(body, RequestStream) and body.has_started)

    def _may_send_again(self, end: Response | TransportError) -> bool:
        if is_idempotent(self._request):
            return True
        if is_conclusive(self._request):
            self.in_doubt = end
            return True
        return False


def _operation(path: tuple[str, ...]) -> str:
    """Return the segment of a path that names an operation on a database, or ``""``. No id can stand in its place."""
    # Behind a partition or a design document come the same operations as behind a database.
    rest = path[3:] if path[1:2] == ("_partition",) else path[1:]
    rest = rest[2:] if rest[:1] == ("_design",) else rest
    return rest[0] if rest else ""


def _base_revision(request: Request) -> str | None:
    """Return the revision that a write is based on, or None."""
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


def _plain_members(document: Any) -> dict[str, Any]:
    """Return the members of a document that are stored as they were sent."""
    return {key: value for key, value in document.items() if not key.startswith("_")}


def _retry_after(response: Response) -> float | None:
    """Return the seconds that a server asks to wait, or None.

    ``Retry-After`` is a number of seconds or a date (RFC 9110, section 10.2.3).
    """
    text = response.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _unknown_outcome_error(request: Request, why: str) -> ProtocolError:
    return ProtocolError(f"it is unknown whether the write was carried out: {why} ({describe_request(request)})")
