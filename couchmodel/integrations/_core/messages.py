"""Requests and answers of a web API, as no framework has them."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from couchmodel.integrations._core.problems import ProblemError

__all__ = ["JSON_TYPE", "MERGE_PATCH_TYPE", "Answer", "Call", "check_json_type", "read_json_body"]

JSON_TYPE: Final = "application/json"
MERGE_PATCH_TYPE: Final = "application/merge-patch+json"

MAX_BODY_BYTES: Final = 8_000_000
"""The largest JSON body that is read: CouchDB's default for a document (``couchdb/max_document_size``)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request: its method, its decoded path, its headers by any case, the pairs of its query, and its body."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    stream: Callable[[], AsyncIterator[bytes]]

    def url(self, levels: int = 0) -> str:
        """Return the quoted path without its last ``levels`` segments and without a slash at its end."""
        path = self.path.rstrip("/")
        for _ in range(levels):
            path = path.rpartition("/")[0]
        return quote(path, safe="/-._~!$&'()*+,;=:@")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. Its body is bytes, or comes in pieces."""

    status: int
    body: bytes | AsyncGenerator[bytes, None] = b""
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str | None = None


async def read_json_body(call: Call, *media_types: str) -> bytes:
    """Return the body of a request that sends JSON.

    Raises ProblemError: 415 for a body of another media type, 413 for a body that is too large.
    """
    check_json_type(call.headers.get("content-type"), *media_types)
    pieces, size = [], 0
    async for piece in call.stream():
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise ProblemError(413, f"A body may have at most {MAX_BODY_BYTES:,} bytes.")
        pieces.append(piece)
    return b"".join(pieces)


def check_json_type(content_type: str | None, *media_types: str) -> None:
    """Raise ProblemError 415 unless a header names JSON, or one of the media types."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind not in (JSON_TYPE, *media_types):
        said = " or ".join((JSON_TYPE, *media_types))
        raise ProblemError(415, f"The body has to be {said}" + (f", not {kind}." if kind else "."))
