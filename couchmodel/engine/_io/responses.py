"""CouchDB's answers to writes: the JSON object with the status and the headers."""

from collections.abc import Iterator, Mapping
from typing import Any

from couchmodel._wire.answers import describe_request
from couchmodel._wire.messages import Request, Response
from couchmodel.engine._io.session import Session
from couchmodel.errors import ProtocolError

__all__ = ["HTTPResponse", "Headers", "etag", "send_write"]


class Headers(Mapping[str, str]):
    """Headers by name. The case of a name does not matter."""

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
    """The answer to a write. As a mapping it has the members ``ok``, ``id`` and ``rev``.

    ``status`` is 201 or 200, or 202 if less than a majority of a cluster's nodes have stored the document so far.
    ``headers`` are the headers of the answer; the case of their names does not matter.
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
        """The entity tag without its quotes. That of a document is its revision."""
        return etag(self.headers)


async def send_write(session: Session, request: Request) -> HTTPResponse:
    """Send a write and return its answer.

    Raises ProtocolError if the answer is not CouchDB's; the write may have been carried out all the same.
    """
    response = await session.send(request)
    return HTTPResponse(response.status, response.headers, _decode_object(request, response))


def etag(headers: Mapping[str, str]) -> str | None:
    """Return the entity tag of an answer without its quotes, and without the weak mark of a compressing proxy."""
    value = headers.get("etag")
    return None if value is None else value.removeprefix("W/").strip('"')


def _decode_object(request: Request, response: Response) -> Mapping[str, Any]:
    try:
        members = response.json()
    except ValueError:
        members = None
    if not isinstance(members, dict):
        message = f"the answer is not a JSON object: {response.body[:80]!r} ({describe_request(request)})"
        raise ProtocolError(message)
    return members
