"""What CouchDB answered to a write: its JSON, and the status and headers beside it."""

from collections.abc import Iterator, Mapping
from typing import Any

from couchmodel._wire.messages import Request, Response, target
from couchmodel.engine._io.session import Session
from couchmodel.errors import ProtocolError

__all__ = ["HTTPResponse", "Headers", "etag", "write"]


class Headers(Mapping[str, str]):
    """Headers by name, whatever its case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {name.lower(): value for name, value in headers.items()}

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self._headers)}>"

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class HTTPResponse(Mapping[str, Any]):
    """The answer to a write, a mapping with the members ``ok``, ``id`` and ``rev``.

    ``status`` is 201 or 200, or 202 where fewer nodes of a cluster than a majority have stored it so far; ``headers``
    are the answer's, by names of any case.
    """

    def __init__(self, status: int, headers: Mapping[str, str], members: Mapping[str, Any]) -> None:
        self.status = status
        self.headers = Headers(headers)
        self._members = dict(members)

    def __repr__(self) -> str:
        return f"<HTTPResponse {self.status} {self._members}>"

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def etag(self) -> str | None:
        """The entity tag without its quotes; a document's is its revision."""
        return etag(self.headers)


async def write(session: Session, request: Request) -> HTTPResponse:
    """Send a write. Raises ProtocolError where the answer is not CouchDB's; the write may have been carried out."""
    response = await session.send(request)
    return HTTPResponse(response.status, response.headers, _object(request, response))


def etag(headers: Mapping[str, str]) -> str | None:
    """The entity tag of an answer without its quotes; a proxy that compresses marks it as weak."""
    value = headers.get("etag")
    return None if value is None else value.removeprefix("W/").strip('"')


def _object(request: Request, response: Response) -> Mapping[str, Any]:
    try:
        members = response.json()
    except ValueError:
        members = None
    if not isinstance(members, dict):
        asked = f"{request.method} {target(request.path)}"
        raise ProtocolError(f"the answer is no JSON object: {response.body[:80]!r} ({asked})")
    return members
