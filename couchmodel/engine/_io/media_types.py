"""Media types of contents: known by the name of the file, or by the first bytes of the content."""

import mimetypes
from typing import Final

import filetype  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

__all__ = ["DEFAULT_TYPE", "HEAD_BYTES", "type_of_content", "type_of_name"]

DEFAULT_TYPE: Final = "application/octet-stream"
"""The media type that CouchDB gives an attachment that comes without one."""

HEAD_BYTES: Final = 8192
"""The bytes at the beginning of a content that tell its type."""

_ENCODINGS: Final = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}

_TEXTUAL: Final = frozenset({"application/pdf", "application/rtf", "application/postscript"})
"""The types whose files may begin like a text."""


def type_of_name(name: str | None) -> str | None:
    """Return the media type of files of this name; None if it has no known ending."""
    kind, encoding = mimetypes.guess_type(name or "")
    # `pie.txt.gz` is a text only after it was unpacked.
    return kind if encoding is None else _ENCODINGS.get(encoding)


def type_of_content(head: bytes) -> str | None:
    """Return the media type of a content by its signature; None if it has none that is certain."""
    found: str | None = filetype.guess_mime(head)
    # Signatures of a few letters, such as the BM of a bitmap, are also words.
    return found if found in _TEXTUAL or not _is_text(head) else None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # the last character may be cut
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character in "\t\n\r\f" for character in text)
