"""Parse the JSON documents of writes, and check their special members as CouchDB does.

Rule: nothing here depends on the stored documents.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.documents.attachment_encoding import DEFAULT_TYPE, Content, from_base64
from couchmodel._embedded.documents.attachments import Attachment
from couchmodel._embedded.json.cutter import first_character, is_large
from couchmodel._embedded.json.large_document import RepeatedNameError, read_large
from couchmodel._embedded.json.parse import invalid_json_error, parse_json
from couchmodel._embedded.json.values import Limit, decode_large
from couchmodel._embedded.json.writer import encode_value
from couchmodel._embedded.rules.erlang_binary import Term
from couchmodel._wire.revisions import Rev, ancestry
from couchmodel.errors import BadRequestError, ContentTooLargeError, DocumentError

__all__ = [
    "AttachmentStub",
    "Edit",
    "IncomingAttachment",
    "parse_document",
    "read_document",
    "validate_id",
]


@dataclass(slots=True)
class IncomingAttachment:
    """An attachment that comes with its content.

    ``expected_length`` is the number of bytes that follow the document in a multipart request, and ``digest`` is their
    expected digest. ``expected_length`` is None if the content has arrived already.
    """

    name: str
    content_type: str
    content: Content
    revpos: int = 0
    expected_length: int | None = None
    digest: str = ""


@dataclass(slots=True)
class AttachmentStub:
    """An attachment that the parent revision has. ``revpos`` must match it unless it is None."""

    name: str
    revpos: object = None


@dataclass(slots=True)
class Edit:
    """A revision to write.

    ``path`` is the revision that the document names and its ancestors, newest first. For an interactive write its first
    item is the parent, for a replicated write the new revision itself. ``content`` is the document without its special
    members. For a large document it is only the Erlang term from which the revision id is computed. ``text`` is the
    JSON of the content.

    ``attachments`` are those that come with their content, stubs of the parent's attachments, and stored attachments
    that the request takes over from another revision or document.
    """

    id: str
    path: list[Rev]
    deleted: bool
    content: dict[str, Any] | Term
    text: bytes
    attachments: list[IncomingAttachment | AttachmentStub | Attachment] = field(default_factory=list)

    @property
    def body(self) -> dict[str, Any]:
        """The document without its special members, parsed.

        Raises ContentTooLargeError if it has more values than a document that the store goes by may have.
        """
        if not isinstance(self.content, Term):
            return self.content
        body: dict[str, Any] = _decode_whole(self.text, "a document that the store goes by")
        return body


def parse_document(document: object, *, id: str | None = None, follows: bool = False) -> Edit:
    """Return the write of a document. ``id`` takes precedence over its ``_id``. The id is empty if both are missing.

    ``follows`` says that contents of attachments follow the document in a multipart request.

    Raises:
        BadRequestError: the document is not an object, or a special member is invalid.
        ContentTooLargeError: the document or an attachment is larger than CouchDB's limit.
    """
    if not isinstance(document, dict):
        raise BadRequestError("Document must be a JSON object")
    special = {name: document[name] for name in document if name[:1] == "_"}
    body = document.copy()
    edit = Edit("", [], False, body, b"")
    # Most documents of a bulk write have no special member but `_id`, so this path is short.
    if special:
        _read_special(special, edit)
        for name in special.keys() - _BODY_MEMBERS:
            del body[name]
        if not follows:
            _refuse_following(edit)
    edit.text = _encode_body(edit)
    if id is not None:
        # The id in the URL counts, and that of the document is not compared with it.
        edit.id = id
    return edit


def read_document(text: bytes, *, id: str | None = None, follows: bool = False) -> Edit:
    """Return the write of a document in JSON. It is the same as ``parse_document`` returns for the parsed text.

    A large text is read in pieces, so that its values are never in memory all at once.
    """
    # A text that is no object is refused anyway.
    if not is_large(text) or first_character(text) != b"{":
        return parse_document(parse_json(text), id=id, follows=follows)
    try:
        large = read_large(text, _BODY_MEMBERS)
    except RepeatedNameError:
        document = _decode_whole(text, "a document that repeats a name")
        return parse_document(document, id=id, follows=follows)
    except ValueError as error:
        raise invalid_json_error(error) from None
    edit = Edit("", [], False, large.term, large.text)
    _read_special(large.special, edit)
    if not follows:
        _refuse_following(edit)
    if id is not None:
        edit.id = id
    return edit


def _decode_whole(text: bytes, what: str) -> Any:
    if len(text) > limits.DOCUMENT_BYTES:
        raise ContentTooLargeError(f"{what} may have {limits.DOCUMENT_BYTES} bytes at most", code="document_too_large")
    try:
        return decode_large(text, Limit(limits.OWN_DOCUMENT_VALUES, what, "document_too_large"))
    except ValueError as error:
        raise invalid_json_error(error) from None


def validate_id(id: object) -> str:
    """Return the id of a document. Raises BadRequestError if it is not valid."""
    if not isinstance(id, str):
        raise _illegal_id("Document id must be a string")
    if not id:
        raise _illegal_id("Document id must not be empty")
    if id[0] == "_":
        if id in ("_design/", "_local/"):
            raise _illegal_id(f"Illegal document id `{id}`")
        if not id.startswith(("_design/", "_local/")):
            raise _illegal_id("Only reserved document ids may start with underscore.")
    return id


def validate_attachment_name(name: str) -> str:
    """Return the name of an attachment. Raises BadRequestError if it begins with an underscore."""
    if name[:1] == "_":
        raise BadRequestError(f"Attachment name '{name}' starts with prohibited character '_'")
    return name


def _read_special(special: dict[str, Any], edit: Edit) -> None:
    """Read the members that begin with an underscore into the edit. Raises BadRequestError for an unknown one."""
    for name, value in special.items():
        # The members are those of `couch_doc:transfer_fields`, and so are the words of the errors.
        reader = _SPECIAL_READERS.get(name)
        if reader is None:
            raise _bad_special_member(name)
        reader(value, edit)
    # `_rev` and `_revisions` depend on each other, so they are read together, in whatever order they come.
    edit.path = ancestry(special)


def _read_id(value: object, edit: Edit) -> None:
    edit.id = validate_id(value)


def _read_deleted(value: object, edit: Edit) -> None:
    if not isinstance(value, bool):
        raise _bad_special_member("_deleted")
    edit.deleted = value


def _read_attachments(value: object, edit: Edit) -> None:
    if not isinstance(value, dict):
        raise _bad_special_member("_attachments")
    # CouchDB ignores a member that is not an object.
    edit.attachments = [_parse_attachment(name, member) for name, member in value.items() if isinstance(member, dict)]


def _parse_attachment(name: str, member: dict[str, Any]) -> IncomingAttachment | AttachmentStub:
    validate_attachment_name(name)
    if member.get("stub") is True:
        return AttachmentStub(name, member.get("revpos"))
    content_type, revpos = member.get("content_type", DEFAULT_TYPE), member.get("revpos", 0)
    if not isinstance(content_type, str):
        raise BadRequestError(f"Invalid attachment data for {name}")
    revpos = revpos if isinstance(revpos, int) else 0
    if member.get("follows") is True:
        return _parse_following(name, content_type, revpos, member)
    try:
        content = Content.of(from_base64(member.get("data")), content_type)
    except ContentTooLargeError:
        raise ContentTooLargeError(name, code="attachment_too_large") from None
    except ValueError:
        raise BadRequestError(f"Invalid attachment data for {name}") from None
    return IncomingAttachment(name, content_type, content, revpos)


def _parse_following(name: str, content_type: str, revpos: int, member: dict[str, Any]) -> IncomingAttachment:
    """Return an attachment whose content follows the document in a multipart request.

    Raises BadRequestError if its length is not a number, where CouchDB answers 500.
    """
    encoding, length, digest = member.get("encoding", ""), member.get("length"), member.get("digest")
    expected_length = member.get("encoded_length", length) if encoding else length
    # By exact type: True is an int in Python, and no length.
    if encoding not in ("", "gzip") or type(length) is not int or type(expected_length) is not int:
        raise BadRequestError(f"Invalid attachment data for {name}")
    if expected_length > limits.ATTACHMENT_BYTES:
        raise ContentTooLargeError(name, code="attachment_too_large")
    content = Content(content_type, encoding, plain_length=length)
    return IncomingAttachment(
        name, content_type, content, revpos, expected_length, digest if isinstance(digest, str) else ""
    )


def _refuse_following(edit: Edit) -> None:
    """Raise BadRequestError for an attachment with ``follows`` in a request that is not multipart."""
    for item in edit.attachments:
        if isinstance(item, IncomingAttachment) and item.expected_length is not None:
            raise BadRequestError(f"Invalid attachment data for {item.name}")


def _accept(_value: object, _edit: Edit) -> None:
    """Accept the member. ``ancestry`` reads ``_rev`` and ``_revisions`` together. Metadata of a read is ignored."""


def _encode_body(edit: Edit) -> bytes:
    """Return the JSON of the content. Raises ContentTooLargeError if it is larger than a document may be."""
    try:
        text = encode_value(edit.body)
    except DocumentError:
        raise BadRequestError("invalid UTF-8 JSON") from None  # a number such as 1e400
    if len(text) > limits.DOCUMENT_BYTES:
        raise ContentTooLargeError(edit.id, code="document_too_large")
    return text


def _illegal_id(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="illegal_docid")


def _bad_special_member(name: str) -> BadRequestError:
    return BadRequestError(f"Bad special document member: {name}", code="doc_validation")


_BODY_MEMBERS: Final = frozenset(
    (
        "_access",
        "_replication_id",
        "_replication_state",
        "_replication_state_reason",
        "_replication_state_time",
        "_replication_stats",
    )
)
"""Members that belong to the stored body although they begin with an underscore."""

_SPECIAL_READERS: Final[dict[str, Callable[[Any, Edit], None]]] = {
    "_id": _read_id,
    "_rev": _accept,
    "_revisions": _accept,
    "_deleted": _read_deleted,
    "_attachments": _read_attachments,
    "_revs_info": _accept,
    "_local_seq": _accept,
    "_conflicts": _accept,
    "_deleted_conflicts": _accept,
    **dict.fromkeys(_BODY_MEMBERS, _accept),
}
"""The reader of each special member."""
