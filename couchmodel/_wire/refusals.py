"""The error of the tree for an answer that is one."""

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from couchmodel._wire.messages import Request, Response, decode, target
from couchmodel.errors import CouchModelError, ProtocolError, response_error

__all__ = ["asked", "decoded", "refusal"]

_HINTS: Final = {401: "check the credentials of the connection"}
_SHOWN: Final = 200
"""How much of an answer that is not CouchDB's is shown."""


def refusal(request: Request, response: Response, hint: str = "") -> CouchModelError:
    """The error that an answer stands for: its status has told that it is one, and its body has arrived."""
    if response.status < 400:
        return ProtocolError(f"the server points to {_place(response)}: is the URL that of CouchDB? ({asked(request)})")
    code, reason = _said(response)
    hint = hint or _HINTS.get(response.status) or _patience(response)
    return response_error(response.status, code, reason, method=request.method, path=target(request.path), hint=hint)


def decoded(request: Request, response: Response) -> Any:
    """The body of an answer that is no error, and has arrived. Raises ProtocolError where it is no JSON."""
    try:
        return response.json()
    except ValueError:
        raise ProtocolError(f"the answer is not JSON: {response.body[:80]!r} ({asked(request)})") from None


def asked(request: Request) -> str:
    """The method and the path of a request. Its query is left out, which may hold what is nobody's business."""
    return f"{request.method} {target(request.path)}"


def _said(response: Response) -> tuple[str | None, str]:
    """CouchDB's word and sentence for an error; of whoever else answers, the beginning of what it said."""
    try:
        answer = decode(response.body)
        return str(answer["error"]), str(answer["reason"])
    except (ValueError, LookupError, TypeError):
        text = " ".join(response.body[: 4 * _SHOWN].decode(errors="replace").split())
        return None, text[:_SHOWN] or _phrase(response.status)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else f"status {status}"


def _place(response: Response) -> str:
    """Where a redirection leads, without credentials and query."""
    try:
        parts = urlsplit(response.headers.get("location", ""))
    except ValueError:
        return "elsewhere"
    host = parts.netloc.rpartition("@")[2]
    return (f"{parts.scheme}://{host}{parts.path}" if host else parts.path) or "elsewhere"


def _patience(response: Response) -> str:
    wait = response.headers.get("retry-after", "")
    return f"the server asks to wait {wait} seconds" if wait.isdecimal() else ""
