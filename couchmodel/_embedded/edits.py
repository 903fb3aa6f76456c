"""What a write brings: a JSON document, read as CouchDB reads it and taken apart.

Rule: nothing here asks what is stored.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from couchmodel._embedded.attachments import Attachment
from couchmodel._embedded.contents import DEFAULT_TYPE, LARGEST, Content, from_base64
from couchmodel._embedded.large_json import encode_object
from couchmodel._wire.revisions import Rev, ancestry
from couchmodel.errors import BadRequestError, ContentTooLargeError, DocumentError

__all__ = ["LARGEST_DOCUMENT", "Edit", "Incoming", "Stub", "parse_document", "validate_id"]

LARGEST_DOCUMENT: Final = 8_000_000
"""CouchDB's ``max_document_size``."""


@dataclass(slots=True)
class Incoming:
    """An attachment that comes with its content.

    ``announced`` says how many bytes are still to come behind the document, and ``digest`` what they should be; None
    where the content is there.
    """

    name: str
    content_type: str
    content: Content
    revpos: int = 0
    announced: int | None = None
    digest: str = ""


@dataclass(slots=True)
class Stub:
    """An attachment that the document has already; ``revpos`` must agree where it is given."""

    name: str
    revpos: object = None


@dataclass(slots=True)
class Edit:
    """A revision that is to be written.

    ``path`` is the revision that the document names and its ancestors, newest first: what an interactive write is
    based on, and what a replicated one is. ``body`` is the document without its special members, ``text`` is its JSON.
    An attachment comes with its content, or the document has it already, or it is one that is stored with another.
    """

    id: str
    path: list[Rev]
    deleted: bool
    body: dict[str, Any]
    text: bytes
    attachments: list[Incoming | Stub | Attachment] = field(default_factory=list)


def parse_document(document: object, *, id: str | None = None, follows: bool = False) -> Edit:
    """A document as a write. ``id`` outweighs its ``_id``; it is empty where there is neither.

    ``follows`` says that contents of attachments come behind the document.

    Raises:
        BadRequestError: the document is none, or a special member of it is refused.
        ContentTooLargeError: it is larger than CouchDB takes.
    """
    if not isinstance(document, dict):
        raise BadRequestError("Document must be a JSON object")
    body = {name: value for name, value in document.items() if name[:1] != "_"}
    edit = Edit("", [], False, body, b"")
    if len(body) < len(document):
        _read_special(document, edit)
        if not follows:
            _refuse_announced(edit)
    edit.text = _text(edit)
    if id is not None:
        edit.id = id
    return edit


def validate_id(id: object) -> str:
    """A document's id. Raises BadRequestError for one that no document may have."""
    if not isinstance(id, str):
        raise _illegal("Document id must be a string")
    if not id:
        raise _illegal("Document id must not be empty")
    if id[0] == "_":
        if id in ("_design/", "_local/"):
            raise _illegal(f"Illegal document id `{id}`")
        if not id.startswith(("_design/", "_local/")):
            raise _illegal("Only reserved document ids may start with underscore.")
    return id


def validate_attachment_name(name: str) -> str:
    """An attachment's name. Raises BadRequestError."""
    if name[:1] == "_":
        raise BadRequestError(f"Attachment name '{name}' starts with prohibited character '_'")
    return name


def _read_special(document: dict[str, Any], edit: Edit) -> None:
    for name, value in document.items():
        if name[:1] == "_":
            reader = _SPECIAL.get(name)
            if reader is None:
                raise _special(name)
            reader(value, edit)
    edit.path = ancestry(document)
    if not _KEPT.isdisjoint(document):
        edit.body = {name: value for name, value in document.items() if name[:1] != "_" or name in _KEPT}


def _read_id(value: object, edit: Edit) -> None:
    edit.id = validate_id(value)


def _read_deleted(value: object, edit: Edit) -> None:
    if not isinstance(value, bool):
        raise _special("_deleted")
    edit.deleted = value


def _read_attachments(value: object, edit: Edit) -> None:
    if not isinstance(value, dict):
        raise _special("_attachments")
    # CouchDB passes over a member that is no object.
    edit.attachments = [_attachment(name, member) for name, member in value.items() if isinstance(member, dict)]


def _attachment(name: str, member: dict[str, Any]) -> Incoming | Stub:
    validate_attachment_name(name)
    if member.get("stub") is True:
        return Stub(name, member.get("revpos"))
    content_type, revpos = member.get("content_type", DEFAULT_TYPE), member.get("revpos", 0)
    if not isinstance(content_type, str):
        raise BadRequestError(f"Invalid attachment data for {name}")
    revpos = revpos if isinstance(revpos, int) else 0
    if member.get("follows") is True:
        return _announced(name, content_type, revpos, member)
    try:
        content = Content.of(from_base64(member.get("data")), content_type)
    except ContentTooLargeError:
        raise ContentTooLargeError(name, code="attachment_too_large") from None
    except ValueError:
        raise BadRequestError(f"Invalid attachment data for {name}") from None
    return Incoming(name, content_type, content, revpos)


def _announced(name: str, content_type: str, revpos: int, member: dict[str, Any]) -> Incoming:
    """An attachment whose content comes behind the document. CouchDB answers 500 where its length is none."""
    encoding, length, digest = member.get("encoding", ""), member.get("length"), member.get("digest")
    announced = member.get("encoded_length", length) if encoding else length
    if encoding not in ("", "gzip") or type(length) is not int or type(announced) is not int:
        raise BadRequestError(f"Invalid attachment data for {name}")
    if announced > LARGEST:
        raise ContentTooLargeError(name, code="attachment_too_large")
    content = Content(content_type, encoding, plain_length=length)
    return Incoming(name, content_type, content, revpos, announced, digest if isinstance(digest, str) else "")


def _refuse_announced(edit: Edit) -> None:
    for item in edit.attachments:
        if isinstance(item, Incoming) and item.announced is not None:
            raise BadRequestError(f"Invalid attachment data for {item.name}")


def _read_elsewhere(_value: object, _edit: Edit) -> None:
    """``_rev`` and ``_revisions`` are read together, and what a reader was told besides is not read at all."""


def _text(edit: Edit) -> bytes:
    try:
        text = encode_object(edit.body)
    except DocumentError:
        raise BadRequestError("invalid UTF-8 JSON") from None  # a number such as 1e400
    if b"e+" in text or b"e-6" in text or b"-0.0" in text:
        text = _respelled(text)
    if len(text) > LARGEST_DOCUMENT:
        raise ContentTooLargeError(edit.id, code="document_too_large")
    return text


def _respelled(text: bytes) -> bytes:
    """A text whose numbers are spelled as CouchDB does: from 1e-6 to 1e21 with all digits, and without -0.0."""
    pieces: list[bytes] = []
    copied = 0
    for found in _SPELLED_OTHERWISE.finditer(text):  # each match is a turn for other threads
        if not found[0].startswith(b'"'):
            pieces += (text[copied : found.start()], _with_all_digits(found[0]))
            copied = found.end()
    return b"".join((*pieces, text[copied:]))


def _with_all_digits(number: bytes) -> bytes:
    # The shortest digits that make the number, and zeros; the digits of the float itself would be others.
    digits = b"0.0" if number == b"-0.0" else f"{Decimal(number.decode()):f}".encode()
    return digits if b"." in digits else digits + b".0"


def _illegal(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="illegal_docid")


def _special(name: str) -> BadRequestError:
    return BadRequestError(f"Bad special document member: {name}", code="doc_validation")


_SPELLED_OTHERWISE: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*"|-0\.0(?![0-9])|-?[0-9](?:\.[0-9]+)?e(?:\+1[6-9]|\+20|-6)(?![0-9])', re.DOTALL
)
"""Numbers, and strings, in which there may be anything."""

_KEPT: Final = frozenset(
    (
        "_access",
        "_replication_id",
        "_replication_state",
        "_replication_state_reason",
        "_replication_state_time",
        "_replication_stats",
    )
)
"""Members that are part of the body although they begin with an underscore."""

_SPECIAL: Final[dict[str, Callable[[Any, Edit], None]]] = {
    "_id": _read_id,
    "_rev": _read_elsewhere,
    "_revisions": _read_elsewhere,
    "_deleted": _read_deleted,
    "_attachments": _read_attachments,
    "_revs_info": _read_elsewhere,
    "_local_seq": _read_elsewhere,
    "_conflicts": _read_elsewhere,
    "_deleted_conflicts": _read_elsewhere,
    **dict.fromkeys(_KEPT, _read_elsewhere),
}
