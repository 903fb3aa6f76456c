"""What a write brings: a JSON document, read as CouchDB reads it and taken apart.

Rule: nothing here asks what is stored.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from couchmodel._embedded.documents.attachment_encoding import DEFAULT_TYPE, LARGEST, Content, from_base64
from couchmodel._embedded.documents.attachments import Attachment
from couchmodel._embedded.json.incremental import TooManyError, decode_large, first_sign, is_large
from couchmodel._embedded.json.large_document import MOST_SPECIAL, TooLargeError, read_large
from couchmodel._embedded.json.numbers import respelled
from couchmodel._embedded.json.parse import bad_json, parse_json
from couchmodel._embedded.json.writer import encode_object
from couchmodel._embedded.rules.revision_ids import Term
from couchmodel._wire.revisions import Rev, ancestry
from couchmodel.errors import BadRequestError, ContentTooLargeError, DocumentError

__all__ = ["LARGEST_DOCUMENT", "Edit", "Incoming", "Stub", "parse_document", "read_document", "validate_id"]

LARGEST_DOCUMENT: Final = 8_000_000
"""CouchDB's ``max_document_size``."""

MOST_VALUES: Final = 50_000
"""Values in a document that the store goes by, a design document or one of its own databases: it is parsed whole."""


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
    based on, and what a replicated one is. ``content`` is the document without its special members, and nothing but
    its term where it is large; ``text`` is its JSON.
    An attachment comes with its content, or the document has it already, or it is one that is stored with another.
    """

    id: str
    path: list[Rev]
    deleted: bool
    content: dict[str, Any] | Term
    text: bytes
    attachments: list[Incoming | Stub | Attachment] = field(default_factory=list)

    @property
    def body(self) -> dict[str, Any]:
        """The document without its special members. Raises ContentTooLargeError."""
        if not isinstance(self.content, Term):
            return self.content
        try:
            body: dict[str, Any] = decode_large(self.text, MOST_VALUES)
        except TooManyError:
            reason = f"a document that the store goes by may have {MOST_VALUES} values at most"
            raise ContentTooLargeError(reason, code="document_too_large") from None
        return body


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
        if not _KEPT.isdisjoint(document):
            edit.content = {name: value for name, value in document.items() if name[:1] != "_" or name in _KEPT}
        if not follows:
            _refuse_announced(edit)
    edit.text = _text(edit)
    if id is not None:
        edit.id = id
    return edit


def read_document(text: bytes, *, id: str | None = None, follows: bool = False) -> Edit:
    """A JSON text as a write, as :func:`parse_document` reads its value; a large one is never a value as a whole."""
    if not is_large(text) or first_sign(text) != b"{":
        return parse_document(parse_json(text), id=id, follows=follows)
    try:
        document = read_large(text, _KEPT, LARGEST_DOCUMENT)
    except TooLargeError as error:
        raise ContentTooLargeError(_id_of(error.special), code="document_too_large") from None
    except TooManyError:
        reason = f"special members may have {MOST_SPECIAL} values at most"
        raise ContentTooLargeError(reason, code="document_too_large") from None
    except ValueError as error:
        raise bad_json(error) from None
    edit = Edit("", [], False, document.term, document.text)
    _read_special(document.special, edit)
    if not follows:
        _refuse_announced(edit)
    if id is not None:
        edit.id = id
    return edit


def _id_of(special: dict[str, Any]) -> str:
    return validate_id(special["_id"]) if "_id" in special else ""


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
        text = respelled(encode_object(edit.body))
    except DocumentError:
        raise BadRequestError("invalid UTF-8 JSON") from None  # a number such as 1e400
    if len(text) > LARGEST_DOCUMENT:
        raise ContentTooLargeError(edit.id, code="document_too_large")
    return text


def _illegal(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="illegal_docid")


def _special(name: str) -> BadRequestError:
    return BadRequestError(f"Bad special document member: {name}", code="doc_validation")


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
