"""``multipart/related`` and ``multipart/mixed`` bodies as CouchDB writes and reads them, in pieces.

CouchDB puts a document and its attachments into one body. The document comes first, and its ``_attachments`` say
``"follows": true``. Then the contents come in the order in which the document names them. Only that order tells which
content belongs to which name: the file names in the headers are not escaped, so they are written but never read.
"""

import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote

from couchmodel._wire.messages import EMPTY, JSON_TYPE

__all__ = [
    "MIXED",
    "RELATED",
    "AttachmentPart",
    "MultipartEvent",
    "MultipartMixed",
    "MultipartReader",
    "MultipartRelated",
    "PartEnd",
    "PartHead",
    "is_media_type",
    "names_one_type",
]

RELATED: Final = "multipart/related"
MIXED: Final = "multipart/mixed"

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_MAX_HEAD: Final = 64 * 1024
"""The most bytes of a part's headers. CouchDB writes a few hundred."""


class PartHead(NamedTuple):
    """The beginning of a part. Header names are lower case."""

    headers: Mapping[str, str]


class PartEnd(NamedTuple):
    """The end of a part."""


MultipartEvent: TypeAlias = PartHead | bytes | PartEnd
"""An event of a :class:`MultipartReader`: a part begins, a piece of its content arrives, or the part ends."""


class AttachmentPart(NamedTuple):
    """The header of a content to write: its name, media type, length in bytes, and encoding, which may be empty."""

    name: str
    content_type: str
    length: int
    encoding: str = ""


def is_media_type(text: str) -> bool:
    """Return True if a media type can stand in a header. CouchDB stores others as well, and sends them as they are."""
    return text.isascii() and text.isprintable()


def names_one_type(text: str) -> bool:
    """Return True if a header names one media type. Of ``image/png, text/html``, browsers take the last one."""
    return is_media_type(text) and "/" in text and "," not in _QUOTED.sub("", text)


_QUOTED: Final = re.compile(r'"[^"]*"')


class MultipartRelated:
    """A ``multipart/related`` body without the contents: the document, the heads of the parts and the boundaries.

    The body is ``head``, then the :meth:`part_head` and the content of each part, then ``tail``. ``length`` is the
    number of bytes of the whole body.
    """

    def __init__(self, document: bytes, parts: Sequence[AttachmentPart]) -> None:
        """``document`` is the JSON text of the document. Its ``_attachments`` name the parts, in the same order."""
        self.parts = parts
        # Random, so that no content can contain it by chance or on purpose.
        self._boundary = secrets.token_hex(16)
        self.content_type = f'{RELATED}; boundary="{self._boundary}"'
        self.head = f"--{self._boundary}\r\nContent-Type: {JSON_TYPE}\r\n\r\n".encode() + document
        self.tail = f"\r\n--{self._boundary}--".encode()
        self.length = len(self.head) + sum(len(self.part_head(part)) + part.length for part in parts) + len(self.tail)

    async def body(self, contents: Iterable[AsyncIterable[bytes]]) -> AsyncGenerator[bytes, None]:
        """Yield the whole body in pieces. ``contents`` are the contents of the parts, in their order."""
        yield self.head
        for part, content in zip(self.parts, contents, strict=True):
            yield self.part_head(part)
            async for piece in content:
                yield piece
        yield self.tail

    def part_head(self, part: AttachmentPart) -> bytes:
        """Return the delimiter and the headers of a part.

        Raises ValueError for a media type that cannot stand in a header.
        """
        if not is_media_type(part.content_type):
            raise ValueError(f"{part.content_type!r} is not a media type")
        # Quoted so that no name can end the header. Readers go by the order of the parts, so they need not undo it.
        name = quote(part.name, safe=" ()+,;=@!$&'/")
        encoding = f"Content-Encoding: {part.encoding}\r\n" if part.encoding else ""
        return (
            f'\r\n--{self._boundary}\r\nContent-Disposition: attachment; filename="{name}"\r\n'
            f"Content-Type: {part.content_type}\r\nContent-Length: {part.length}\r\n{encoding}\r\n"
        ).encode()


class MultipartMixed:
    """The frame of a body of several documents, each with or without attachments.

    The body is the :meth:`part_head` and the content of each document, then ``tail``.
    """

    def __init__(self, kind: str = MIXED) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f'{kind}; boundary="{boundary}"'
        self.tail = f"\r\n--{boundary}--".encode()
        self._delimiter = f"\r\n--{boundary}\r\n"

    def part_head(self, content_type: str, headers: Mapping[str, str] = EMPTY) -> bytes:
        """Return the delimiter and the headers of a document."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self._delimiter}{lines}Content-Type: {content_type}\r\n\r\n".encode()


class MultipartReader:
    """A parser of a multipart body that arrives in pieces. It keeps little more than one piece in memory.

    ``is_complete`` is True after the last delimiter.
    """

    def __init__(self, content_type: str) -> None:
        """Raises ValueError for a content type that names no boundary."""
        found = _BOUNDARY.search(content_type)
        if found is None:
            raise ValueError(f"{content_type!r} names no boundary")
        # The line break before a boundary belongs to the delimiter, not to the content (RFC 2046, section 5.1.1).
        self._delimiter = b"\r\n--" + (found[1] or found[2]).encode()
        self._buffer = bytearray(b"\r\n")  # the first delimiter may stand at the very beginning
        self._step = self._preamble
        self.is_complete = False

    def feed(self, data: bytes) -> Iterator[MultipartEvent]:
        """Yield the events in the next bytes of the body. Iterate to the end before the next call.

        Raises ValueError if the body is malformed.
        """
        self._buffer += data
        while (events := self._step()) is not None:
            yield from events

    def finish(self) -> None:
        """End the body. Raises ValueError if the last delimiter has not come."""
        if not self.is_complete:
            raise ValueError("the multipart body was cut off")

    # Each step takes what it can from the buffer, and returns None if it needs more bytes.

    def _preamble(self) -> Sequence[MultipartEvent] | None:
        found = self._buffer.find(self._delimiter)
        if found < 0:
            # The end may be the beginning of a delimiter.
            del self._buffer[: max(0, len(self._buffer) - len(self._delimiter))]
            return None
        return self._take_delimiter(found)

    def _after_delimiter(self) -> Sequence[MultipartEvent] | None:
        if self._buffer.startswith(b"--"):
            self.is_complete = True
            self._step = self._epilogue
            return ()
        end = self._buffer.find(b"\r\n")
        if end < 0:
            self._check_head_length()
            return None
        if self._buffer[:end].strip(b" \t"):
            raise ValueError("the multipart body has no line break after a boundary")
        del self._buffer[:end]  # the line's end stays: a part without headers has an empty line at once
        self._step = self._head
        return ()

    def _head(self) -> Sequence[MultipartEvent] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            self._check_head_length()
            return None
        headers = _parse_headers(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._step = self._content
        return (PartHead(headers),)

    def _content(self) -> Sequence[MultipartEvent] | None:
        found = self._buffer.find(self._delimiter)
        if found >= 0:
            piece = bytes(self._buffer[:found])
            self._take_delimiter(found)
            return (piece, PartEnd()) if piece else (PartEnd(),)
        # The last bytes may be the beginning of a delimiter.
        sure = len(self._buffer) - len(self._delimiter)
        if sure <= 0:
            return None
        piece = bytes(self._buffer[:sure])
        del self._buffer[:sure]
        return (piece,)

    def _epilogue(self) -> Sequence[MultipartEvent] | None:
        self._buffer.clear()
        return None

    def _take_delimiter(self, found: int) -> Sequence[MultipartEvent]:
        del self._buffer[: found + len(self._delimiter)]
        self._step = self._after_delimiter
        return ()

    def _check_head_length(self) -> None:
        if len(self._buffer) > _MAX_HEAD:
            raise ValueError(f"the headers of a part are longer than {_MAX_HEAD} bytes")


def _parse_headers(head: bytes) -> dict[str, str]:
    lines = head.decode("utf-8", "replace").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
