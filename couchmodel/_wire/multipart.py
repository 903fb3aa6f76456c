"""``multipart/related`` and ``multipart/mixed``, as CouchDB writes and reads them, in pieces and in both directions.

CouchDB puts a document and its attachments into one body: the document first, whose ``_attachments`` say
``"follows": true``, then the contents, in the order in which the document names them. That order is all that tells the
contents apart: the file names in their headers are not escaped, so they are written for others and never read.
"""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote

from couchmodel._wire.messages import JSON_TYPE, NOTHING

__all__ = ["MIXED", "RELATED", "Event", "Mixed", "Part", "PartEnd", "PartHead", "Reader", "Related", "is_media_type"]

RELATED: Final = "multipart/related"
MIXED: Final = "multipart/mixed"

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_LONGEST_HEAD: Final = 64 * 1024
"""Bytes of a part's headers. CouchDB writes a few hundred."""


class PartHead(NamedTuple):
    """A part begins. Header names are lower case."""

    headers: Mapping[str, str]


class PartEnd(NamedTuple):
    """A part is complete."""


Event: TypeAlias = PartHead | bytes | PartEnd
"""What a :class:`Reader` sees: a part begins, a piece of its content, the part ends."""


class Part(NamedTuple):
    """A content to be written: its name, its media type, how many bytes it has, and how they are encoded, if so."""

    name: str
    content_type: str
    length: int
    encoding: str = ""


def is_media_type(text: str) -> bool:
    """Whether a media type can be a header. CouchDB stores others as well, and sends them as they are."""
    return text.isascii() and text.isprintable()


class Related:
    """The frame of a ``multipart/related`` body: everything but the contents themselves.

    The body is ``head``, then for each part its frame, as :meth:`frame` gives it, and its content, then ``tail``.
    """

    def __init__(self, document: bytes, parts: Sequence[Part]) -> None:
        """``document`` is the JSON text whose ``_attachments`` announce the parts, in this order."""
        self._boundary = secrets.token_hex(16)
        self.content_type = f'{RELATED}; boundary="{self._boundary}"'
        self.head = f"--{self._boundary}\r\nContent-Type: {JSON_TYPE}\r\n\r\n".encode() + document
        self.tail = f"\r\n--{self._boundary}--".encode()
        self.length = len(self.head) + sum(len(self.frame(part)) + part.length for part in parts) + len(self.tail)

    def frame(self, part: Part) -> bytes:
        """What stands before the content of a part. Raises ValueError for a media type that is no header."""
        if not is_media_type(part.content_type):
            raise ValueError(f"{part.content_type!r} is no media type")
        name = quote(part.name, safe=" ()+,;=@!$&'/")
        encoding = f"Content-Encoding: {part.encoding}\r\n" if part.encoding else ""
        return (
            f'\r\n--{self._boundary}\r\nContent-Disposition: attachment; filename="{name}"\r\n'
            f"Content-Type: {part.content_type}\r\nContent-Length: {part.length}\r\n{encoding}\r\n"
        ).encode()


class Mixed:
    """The frame of a body of several documents, each with its attachments or without.

    The body is for each document its :meth:`frame` and what the frame announces, then ``tail``.
    """

    def __init__(self, kind: str = MIXED) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f'{kind}; boundary="{boundary}"'
        self.tail = f"\r\n--{boundary}--".encode()
        self._delimiter = f"\r\n--{boundary}\r\n"

    def frame(self, content_type: str, headers: Mapping[str, str] = NOTHING) -> bytes:
        """What stands before a document."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self._delimiter}{lines}Content-Type: {content_type}\r\n\r\n".encode()


class Reader:
    """Takes a multipart body apart as it arrives. Memory is bounded by what is fed at a time."""

    def __init__(self, content_type: str) -> None:
        """Raises ValueError for a content type that names no boundary."""
        found = _BOUNDARY.search(content_type)
        if found is None:
            raise ValueError(f"{content_type!r} names no boundary")
        self._delimiter = b"\r\n--" + (found[1] or found[2]).encode()
        self._waiting = bytearray(b"\r\n")  # the first delimiter may stand at the very beginning
        self._step = self._preamble
        self.ended = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """What the body's next bytes bring; iterate to the end before feeding more. Raises ValueError if malformed."""
        self._waiting += data
        while (events := self._step()) is not None:
            yield from events

    def finish(self) -> None:
        """There is no more. Raises ValueError where the last delimiter has not come."""
        if not self.ended:
            raise ValueError("the multipart body was cut off")

    # Each step takes what it can from the waiting bytes; None says that it needs more.

    def _preamble(self) -> Sequence[Event] | None:
        found = self._waiting.find(self._delimiter)
        if found < 0:
            del self._waiting[: max(0, len(self._waiting) - len(self._delimiter))]
            return None
        return self._take_delimiter(found)

    def _after_delimiter(self) -> Sequence[Event] | None:
        if self._waiting.startswith(b"--"):
            self.ended = True
            self._step = self._epilogue
            return ()
        end = self._waiting.find(b"\r\n")
        if end < 0:
            self._check_patience()
            return None
        if self._waiting[:end].strip(b" \t"):
            raise ValueError("the multipart body has something else after a boundary than a line's end")
        del self._waiting[:end]  # the line's end stays: a part without headers has an empty line at once
        self._step = self._head
        return ()

    def _head(self) -> Sequence[Event] | None:
        end = self._waiting.find(b"\r\n\r\n")
        if end < 0:
            self._check_patience()
            return None
        headers = _parse_headers(bytes(self._waiting[:end]))
        del self._waiting[: end + 4]
        self._step = self._content
        return (PartHead(headers),)

    def _content(self) -> Sequence[Event] | None:
        found = self._waiting.find(self._delimiter)
        if found >= 0:
            piece = bytes(self._waiting[:found])
            self._take_delimiter(found)
            return (piece, PartEnd()) if piece else (PartEnd(),)
        sure = len(self._waiting) - len(self._delimiter)
        if sure <= 0:
            return None
        piece = bytes(self._waiting[:sure])
        del self._waiting[:sure]
        return (piece,)

    def _epilogue(self) -> Sequence[Event] | None:
        self._waiting.clear()
        return None

    def _take_delimiter(self, found: int) -> Sequence[Event]:
        del self._waiting[: found + len(self._delimiter)]
        self._step = self._after_delimiter
        return ()

    def _check_patience(self) -> None:
        if len(self._waiting) > _LONGEST_HEAD:
            raise ValueError("the headers of a part are endless")


def _parse_headers(head: bytes) -> dict[str, str]:
    lines = head.decode("utf-8", "replace").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
