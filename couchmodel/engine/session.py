"""A client's line to one server: the only place where a request leaves the engine and an error answer is read."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from couchmodel._wire.messages import NOTHING, Request, Response, Transport, decode, target
from couchmodel.errors import ProtocolError, response_error

__all__ = ["Session"]

_HINTS: Final = {401: "check the name and the password of the connection"}


class Session:
    """Sends requests by a transport and turns error answers into errors."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"<Session {self._transport!r}>"

    async def send(self, request: Request) -> Response:
        """The answer to a request, if it is no error; ``304 Not Modified`` is none.

        Raises ResponseError for an error answer and TransportError where no answer came.
        """
        response = await self._transport.send(request)
        if response.status >= 300 and response.status != 304:
            await response.collect()
            raise _error(request, response)
        return response

    async def json(self, request: Request) -> Any:
        """The decoded body of the answer."""
        response = await self.send(request)
        try:
            return response.json()
        except ValueError:
            raise ProtocolError(f"the answer is not JSON: {response.body[:80]!r} ({_asked(request)})") from None

    async def get(self, path: tuple[str, ...], query: Mapping[str, str] = NOTHING) -> Any:
        """The decoded answer to a GET."""
        return await self.json(Request("GET", path, query))

    async def close(self) -> None:
        """Let go of connections and files."""
        await self._transport.close()


def _error(request: Request, response: Response) -> Exception:
    code, reason = _said(response)
    if response.status < 400:
        location = response.headers.get("location", "elsewhere")
        return ProtocolError(f"the server points to {location}: is the URL that of CouchDB? ({_asked(request)})")
    hint = _HINTS.get(response.status, "")
    return response_error(response.status, code, reason, method=request.method, path=target(request.path), hint=hint)


def _said(response: Response) -> tuple[str | None, str]:
    """CouchDB's word and sentence for an error; of whoever else answers, the beginning of what it said."""
    try:
        answer = decode(response.body)
        return answer["error"], str(answer["reason"])
    except (ValueError, LookupError, TypeError):
        return None, response.body[:200].decode(errors="replace").strip() or _phrase(response.status)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else f"status {status}"


def _asked(request: Request) -> str:
    return f"{request.method} {target(request.path)}"
