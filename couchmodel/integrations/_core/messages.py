"""Requests and answers of a web API, as no framework has them."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from couchmodel._wire.gzip import GzipDecompressor
from couchmodel.integrations._core.problems import ProblemError, broken_body

__all__ = [
    "JSON_TYPE",
    "MERGE_PATCH_TYPE",
    "Answer",
    "Call",
    "check_json_type",
    "content_encoding",
    "read_json_body",
    "unpack",
]

JSON_TYPE: Final = "application/json"
MERGE_PATCH_TYPE: Final = "application/merge-patch+json"

MAX_BODY_BYTES: Final = 8_000_000
"""The largest JSON body that is read: CouchDB's default for a document (``couchdb/max_document_size``)."""

_PIECE_BYTES: Final = 64 * 1024
"""The most bytes that are unpacked at a time."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request: its method, its decoded path, its headers by any case, the pairs of its query, and its body.

    ``stream`` yields the body as it was before it was packed.
    """

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
        # The characters that RFC 3986 allows in a segment of a path.
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
        # The bytes are counted as they arrive, since a body may be announced shorter than it is, or not at all.
        if size > MAX_BODY_BYTES:
            raise ProblemError(413, f"A body may have at most {MAX_BODY_BYTES:,} bytes.")
        pieces.append(piece)
    return b"".join(pieces)


def content_encoding(headers: Mapping[str, str]) -> str:
    """Return ``gzip`` if the body of a request is packed, and an empty text if it is not.

    Raises ProblemError 415 for other encodings.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise ProblemError(415, "The body may be packed by gzip only.", headers={"accept-encoding": "gzip"})
    return "" if encoding == "identity" else encoding


async def unpack(pieces: AsyncIterator[bytes], encoding: str) -> AsyncGenerator[bytes, None]:
    """Yield a body without its encoding, in pieces of a bounded size.

    Raises ProblemError 400 if it is cut or broken.
    """
    if not encoding:
        async for piece in pieces:
            yield piece
        return
    # A few kilobytes can unpack to gigabytes, so what comes out is bounded as well.
    decompressor = GzipDecompressor(_PIECE_BYTES, multi_member=True)
    try:
        async for packed in pieces:
            for piece in decompressor.feed(packed):
                yield piece
    except ValueError:
        raise broken_body() from None
    if not decompressor.is_complete:
        raise broken_body()


def check_json_type(content_type: str | None, *media_types: str) -> None:
    """Raise ProblemError 415 unless a header names JSON, or one of the media types."""
    # Parameters such as the character set do not count: JSON is UTF-8.
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind not in (JSON_TYPE, *media_types):
        said = " or ".join((JSON_TYPE, *media_types))
        raise ProblemError(415, f"The body has to be {said}" + (f", not {kind}." if kind else "."))
