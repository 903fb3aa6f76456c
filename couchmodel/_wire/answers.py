"""Answers of a server turned into values, or into the errors of :mod:`couchmodel.errors`."""

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from couchmodel._wire.messages import Request, Response, decode, request_target
from couchmodel.errors import CouchModelError, ProtocolError, response_error

__all__ = ["answer_error", "decode_answer", "describe_request"]

_HINTS: Final = {401: "check the credentials of the connection"}
_LONGEST_EXCERPT: Final = 200
"""The most characters of an answer that is not CouchDB's in the message of an error."""


def answer_error(request: Request, response: Response, hint: str = "") -> CouchModelError:
    """Return the error for an answer whose status is 300 or above, and whose body has arrived.

    A redirection gives a ProtocolError, as it mostly comes from a server that is not CouchDB.
    """
    if response.status < 400:
        message = f"the server redirects to {_redirect_location(response)}: is the URL that of CouchDB?"
        return ProtocolError(f"{message} ({describe_request(request)})")
    code, reason = _code_and_reason(response)
    hint = hint or _HINTS.get(response.status) or _retry_hint(response)
    return response_error(
        response.status, code, reason, method=request.method, path=request_target(request.path), hint=hint
    )


def decode_answer(request: Request, response: Response) -> Any:
    """Return the decoded body of an answer. Raises ProtocolError if it is not JSON."""
    try:
        return response.json()
    except ValueError:
        raise ProtocolError(f"the answer is not JSON: {response.body[:80]!r} ({describe_request(request)})") from None


def describe_request(request: Request) -> str:
    """Return the method and the path of a request, for messages. The query is left out, as it may hold private data."""
    return f"{request.method} {request_target(request.path)}"


def _code_and_reason(response: Response) -> tuple[str | None, str]:
    """Return the code and the reason of an error; for an answer that is not CouchDB's, None and its beginning."""
    try:
        answer = decode(response.body)
        return str(answer["error"]), str(answer["reason"])
    except (ValueError, LookupError, TypeError):
        # A character has four bytes at most, and white space is joined.
        text = " ".join(response.body[: 4 * _LONGEST_EXCERPT].decode(errors="replace").split())
        return None, text[:_LONGEST_EXCERPT] or _status_phrase(response.status)


def _status_phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else f"status {status}"


def _redirect_location(response: Response) -> str:
    """Return the URL that a redirection leads to, without credentials and query."""
    try:
        parts = urlsplit(response.headers.get("location", ""))
    except ValueError:
        return "elsewhere"
    host = parts.netloc.rpartition("@")[2]
    return (f"{parts.scheme}://{host}{parts.path}" if host else parts.path) or "elsewhere"


def _retry_hint(response: Response) -> str:
    wait = response.headers.get("retry-after", "")
    return f"the server asks to wait {wait} seconds" if wait.isdecimal() else ""
