"""The documents of a bucket: their ids, their members, and the parts of a content. Nothing here does I/O.

A file has one document, ``couchmodel.bucket:NAME/file/ID``::

    {"bucket_file": {"_id": "ID", "filename": "song.ogg", "length": 600000, "chunkSize": 261120, "uploadDate": "2026…"},
     "bucket_content": {"upload": "5f…", "part_bytes": 2097152, "parts": 0, "checksums": "9ae0…", "sha256": "…"}}

``bucket_file`` has the members of GridFS. A content of up to 2 MiB is the attachment ``content`` of this document, so
a small file is one document, stored by one request. A larger content is cut into parts of 2 MiB, each the attachment of
a document ``couchmodel.bucket:NAME/part/ID/UPLOAD/00000000``. They are stored first, and the document of the file last.

``checksums`` has a CRC-32 of eight hexadecimal digits for each part.
"""

from typing import Any, Final
from urllib.parse import quote

from couchmodel._wire.bucket_ids import BUCKET_MEMBERS, BUCKET_PREFIX
from couchmodel.types import JSONObject

__all__ = [
    "CLAIM_MEMBER",
    "CONTENT",
    "CONTENT_MEMBER",
    "CONTENT_TYPE",
    "FILE_MEMBER",
    "PART_BYTES",
    "PART_MEMBER",
    "Layout",
    "StoredFile",
]

FILE_MEMBER: Final = f"{BUCKET_MEMBERS}file"
"""The member with the members of a file. Its name is none that a view of a model is about."""

CONTENT_MEMBER: Final = f"{BUCKET_MEMBERS}content"
"""The member that says how the content of a file is stored."""

CLAIM_MEMBER: Final = f"{BUCKET_MEMBERS}claim"
"""The member of a document that takes the id of a file for a sweep: the time."""

PART_MEMBER: Final = f"{BUCKET_MEMBERS}part"
"""The member of a part that says who has stored it, and when."""

CONTENT: Final = "content"
"""The name of the attachment that has a part, or a whole content."""

CONTENT_TYPE: Final = "application/octet-stream"
"""The media type of these attachments. CouchDB compresses no content of this type, so it serves ranges of it."""

PART_BYTES: Final = 2 * 1024 * 1024
"""The bytes of a part. The head of the package says why so many."""

_CHECKSUM_DIGITS: Final = 8


class Layout:
    """The ids of the documents of one bucket."""

    def __init__(self, bucket_name: str) -> None:
        # Names and ids are quoted, so a slash is always one between two parts of the id of a document.
        bucket = BUCKET_PREFIX + quote(bucket_name, safe="")
        self.files = f"{bucket}/file/"
        """The beginning of the ids of documents of files."""
        self.parts = f"{bucket}/part/"
        """The beginning of the ids of documents of parts."""

    def upload(self, file_id: str, upload: str) -> str:
        """Return the beginning of the ids of the parts of an upload."""
        return f"{self.parts}{quote(file_id, safe='')}/{upload}/"

    def part(self, file_id: str, upload: str, number: int) -> str:
        """Return the id of a part."""
        # With a fixed width, the ids are in the order of the numbers. Eight digits are parts of 200 TB.
        return f"{self.upload(file_id, upload)}{number:08}"


class StoredFile:
    """The document of a file. ``members`` are those of GridFS."""

    def __init__(self, document: JSONObject) -> None:
        self.document = document
        self.members: dict[str, Any] = document[FILE_MEMBER]
        self._content: dict[str, Any] = document[CONTENT_MEMBER]

    @property
    def id(self) -> str:
        """The id of the file in its bucket."""
        return str(self.members["_id"])

    @property
    def length(self) -> int:
        """The number of bytes. A missing one counts as 0, as in GridFS."""
        return int(self.members.get("length") or 0)

    @property
    def upload(self) -> str:
        """The name of the upload that stored the file."""
        return str(self._content["upload"])

    @property
    def part_bytes(self) -> int:
        """The bytes of each part but the last."""
        return int(self._content["part_bytes"])

    @property
    def part_count(self) -> int:
        """The number of parts in documents of their own; 0 if the content is in the document of the file."""
        return int(self._content["parts"])

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content, in hexadecimal digits."""
        return str(self._content["sha256"])

    def checksum(self, number: int) -> int:
        """Return the CRC-32 of a part."""
        start = number * _CHECKSUM_DIGITS
        return int(self._content["checksums"][start : start + _CHECKSUM_DIGITS], 16)
