"""Loading documents from JSON texts, and writing them to JSON texts.

pydantic's JSON parser loads a document from the bytes of the answer, once, and those bytes are kept. A document that is
to be stored is compared with them, so the detection of changes costs a load nothing. Its changes are merged into them,
so members that the model does not know are kept.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json

from couchmodel._model.codec.fidelity import find_difference, is_alike, share_defaults
from couchmodel._model.codec.forms import StoredForm, form_of, reason_of, write_field
from couchmodel._model.codec.instants import find_odd_time
from couchmodel._model.codec.merge import apply_changes, overlay
from couchmodel._model.codec.older_names import drop_older_names
from couchmodel._model.codec.unwritable import find_unwritable
from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import stored_name
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.ids import render_id
from couchmodel._model.schema.kinds import kind_of
from couchmodel._model.schema.members.change_marks import CHANGE_MEMBER, make_mark, needs_marks
from couchmodel._model.schema.members.tombstones import REMARKS_MEMBER
from couchmodel._model.schema.members.versions import VERSION_MEMBER, version_of
from couchmodel._wire.equality import json_equal
from couchmodel._wire.messages import EMPTY, decode, encode
from couchmodel.errors import ConfigurationError, DocumentError

__all__ = [
    "adopt",
    "adopt_values",
    "base_of",
    "body_to_migrate",
    "body_to_send",
    "dump",
    "dump_quickly",
    "load",
    "newer_version",
    "note_deleted",
    "note_stored",
    "own_members",
    "prepend_members",
    "settle_id",
    "tombstone",
]

M = TypeVar("M", bound=DocumentModel)

_GONE: Final = object()


def load(model: type[M], body: bytes, repository: object = None) -> M:
    """Return the document of a JSON text; ``repository`` is the one that it comes from.

    The document is of a subclass if the text is of a type of that subclass. Raises DocumentError if the text does not
    fit the model. A text of an older version of the schema is upgraded first.
    """
    form: StoredForm = model.__stored_form__ or form_of(model)
    if form.upgrade is not None:
        body = form.upgrade(body)
    try:
        document: M = form.validate(body)
    except ValidationError as error:
        # A model that forbids undeclared members fails here, and pays for a second try. All others load in one step.
        document = _load_declared_members(model, body, error)
    if document.__pydantic_extra__:  # set only if the model allows undeclared members
        _drop_couchdb_members(document)
    state.set_stored_body(document, body)
    state.set_repository(document, repository)
    return document


def dump(document: DocumentModel) -> bytes:
    """Return the JSON text of a document as it is stored, without CouchDB's own members.

    Raises DocumentError if a value cannot be written as JSON. Does not check whether the document fits its model, which
    :func:`body_to_send` does.
    """
    form: StoredForm = type(document).__stored_form__ or form_of(type(document))
    try:
        body = form.fast(document, by_alias=True, warnings=False)
        if form.exact is None or find_odd_time(body) is None:
            return body
        body = form.widen(body)
        return body if find_odd_time(body) is None else form.exact(document, by_alias=True, warnings=False)
    except (PydanticSerializationError, ValueError) as error:
        raise _unstorable_error(document, str(find_unwritable(document) or reason_of(error))) from None


def dump_quickly(document: DocumentModel) -> bytes:
    """Return the JSON text that pydantic writes of a document. Only its datetimes may differ from :func:`dump`'s.

    Raises as :func:`dump` does.
    """
    form: StoredForm = type(document).__stored_form__ or form_of(type(document))
    try:
        return form.fast(document, by_alias=True, warnings=False)
    except (PydanticSerializationError, ValueError):
        return dump(document)  # it raises an error that says more


def base_of(document: M) -> M | None:
    """Return the stored revision that a document was made from, as it was loaded; None if it is not known.

    A document has no base any more if its revision was changed or removed since the load, as in a copy. Raises
    ConfigurationError if its id was changed and its revision kept: that revision belongs to the old id.
    """
    body = state.stored_body(document)
    if body is None:
        return None
    base = load(type(document), body, state.repository(document))
    if base.id != document.id and document.rev is not None:
        raise ConfigurationError(
            f"the id of the stored document {base.id!r} cannot be changed to {document.id!r}:"
            " to store a copy, set its rev to None as well"
        )
    if (base.id, base.rev) != (document.id, document.rev):
        return None
    share_defaults(document, base)
    return base


def body_to_send(document: DocumentModel, *, is_change: bool = True) -> bytes | None:
    """Return the JSON text to send, with ``_id`` and ``_rev``; None if the same is stored already.

    It is the loaded text with the changes made since the load, so members that the model does not know are kept. A
    merge of stored versions is no change of its own, and gets no mark. Raises DocumentError if the document does not
    fit its model any more.
    """
    body, base = dump(document), base_of(document)
    before = None if base is None else dump(base)
    if body == before:
        return None
    text = prepend_members(own_members(document), body)
    _check_fits(document, body, text)
    mark = {CHANGE_MEMBER: make_mark()} if is_change and needs_marks(type(document)) else EMPTY
    if before is None:
        return prepend_members({**own_members(document), **mark}, body) if mark else text
    stored = decode(state.stored_body(base) or b"{}")  # the base's, as that is upgraded
    known, written = decode(before), decode(body)
    if not is_change:  # two programs that merge the same have to write the same, also of defaults such as the time
        written = {name: value for name, value in written.items() if name in stored or value != known.get(name, _GONE)}
    merged = apply_changes(stored, known, written)
    for name in _computed_names(type(document)):  # older versions stored them
        merged.pop(name, None)
    own = {**own_members(document, stored), **mark}
    # ``own`` comes first for the order of the members, by which an upgrade knows the version without parsing, and last
    # because it counts.
    return None if json_equal(merged, stored) else encode({**own, **merged, **own})


def own_members(document: DocumentModel, stored: Mapping[str, Any] = EMPTY) -> dict[str, Any]:
    """Return the members that are stored beside the fields: id, revision, type, and a version of the schema above 1.

    A document that is ``stored`` in a newer version than its model's keeps that one.
    """
    own: dict[str, Any] = {"_id": document.id}
    if document.rev:
        own["_rev"] = document.rev
    declared = document.__declared__
    if declared.type is not None:
        own[declared.type_field] = declared.type
    if declared.version > 1:
        own[VERSION_MEMBER] = max(declared.version, version_of(stored) or 1)
    return own


def note_stored(document: DocumentModel, body: bytes, rev: str) -> None:
    """Record that ``body``, which was sent, is stored as revision ``rev``."""
    state.set_rev(document, rev)
    state.note_sent_body(document, body, rev)
    state.forget_unanswered(document)


def note_deleted(document: DocumentModel) -> None:
    """Record that the document and its attachments were deleted."""
    state.set_rev(document, None)
    state.set_stored_body(document, None)
    state.forget_unanswered(document)
    for name in form_of(type(document)).attachments:
        vars(document)[name] = None


def newer_version(document: DocumentModel | None) -> int | None:
    """Return the version of the schema that a document is stored in, if its model does not know it yet."""
    body = None if document is None else state.stored_body(document)
    return None if document is None or body is None else _newer_version(type(document), decode(body))


def _newer_version(model: type[DocumentModel], stored: Mapping[str, Any]) -> int | None:
    kind = kind_of(model, form_of(model).kinds, stored)
    declared, found = kind.__declared__, version_of(stored) or 1
    if declared.version == 1:  # the member may belong to a field
        names = [stored_name(name, info) for name, info in kind.__pydantic_fields__.items()]
        if VERSION_MEMBER in (*names, declared.type_field):
            return None
    return found if found > declared.version else None


def body_to_migrate(document: DocumentModel, text: bytes) -> bytes | None:
    """Return the JSON text that stores a document, loaded from ``text``, in its model's form; None if it is stored so.

    A document of a newer version than the model's is left alone. Members that the model does not know are kept. Older
    names of fields and computed fields are left out. Raises DocumentError if the document does not fit its model.
    """
    if newer_version(document) is not None:
        return None
    body, stored = dump(document), decode(state.stored_body(document) or text)
    written = drop_older_names(document, overlay(stored, {**decode(body), **own_members(document)}))
    for name in _computed_names(type(document)):  # older versions stored them
        written.pop(name, None)
    if json_equal(written, decode(text)):
        return None
    own = own_members(document)
    _check_fits(document, body, prepend_members(own, body))
    return encode({**own, **written})


def adopt(document: M, other: M) -> None:
    """Give a document the values of another one, declared or not, and make it one of the same stored revision."""
    adopt_values(document, other)
    state.set_rev(document, other.rev)
    state.copy_state(other, document)


def adopt_values(document: M, other: M) -> None:
    """Give a document the values of another one, except for its id and revision."""
    ours, theirs = vars(document), vars(other)
    for name in ours.keys() - theirs.keys():  # the values of cached properties
        del ours[name]
    ours.update({name: value for name, value in theirs.items() if name not in ("id", "rev")})
    for slot in ("__pydantic_fields_set__", "__pydantic_extra__"):
        object.__setattr__(document, slot, getattr(other, slot))
    state.copy_files(other, document)


def tombstone(document: DocumentModel, remarks: Mapping[str, Any] = EMPTY) -> bytes:
    """Return the text of the deletion of a document. It keeps the type, so that feeds of a type see it.

    For a model of :class:`SoftDelete` it keeps all that is stored, and has the remarks. Raises DocumentError for
    remarks that are no JSON.
    """
    if document.__keeps_deleted__:
        base = base_of(document)
        stored = decode((base and state.stored_body(base)) or b"{}")
        kept = {name: value for name, value in stored.items() if name[:1] != "_" or name == "_attachments"}
        own = {**own_members(document, stored), "_deleted": True, REMARKS_MEMBER: dict(remarks)}
        try:
            return encode({**own, **kept, **own})
        except DocumentError as error:
            raise _unstorable_error(document, f"its deletion has remarks that are no JSON: {error}") from None
    own = {"_id": document.id, "_rev": document.rev} if document.__declared__.type is None else own_members(document)
    return encode({**own, "_deleted": True})


def settle_id(document: DocumentModel) -> None:
    """Make the id of a document of its fields, if its model has a template for that.

    Raises DocumentError if the document has another id already: because it is stored, or because one was given.
    """
    template = document.__declared__.id
    if template is None:
        return
    model = type(document)
    try:
        id = render_id(template, lambda name: write_field(model, name, getattr(document, name)))
    except ValueError as error:
        raise _unstorable_error(document, str(error)) from None
    if id == document.id:
        return
    if document.rev is not None or "id" in document.__pydantic_fields_set__:
        reason = (
            f"its id is made of its fields, {template!r}, and would be {id!r} now: to store a copy, save"
            f" document.model_copy(update={{'id': {id!r}, 'rev': None}})"
        )
        raise _unstorable_error(document, reason)
    state.set_id(document, id)


def prepend_members(own: Mapping[str, Any], body: bytes) -> bytes:
    """Return the JSON object ``body`` with the members ``own`` in front, without decoding it."""
    return encode(own)[:-1] + (b"}" if body == b"{}" else b"," + body[1:])


# --- models that allow or forbid undeclared members


def _load_declared_members(model: type[M], body: bytes, error: ValidationError) -> M:
    """Load the document of a model that forbids undeclared members (``extra="forbid"``), or declares their type.

    A stored document has CouchDB's members and its type, which the model does not declare, so they are taken out first.
    """
    found = error.errors(include_url=False, include_context=False)
    if not all(each["type"] == "extra_forbidden" or _is_couchdb_member(each["loc"]) for each in found):
        _raise_load_error(model, body, error)
    stored = decode(body)
    kind = kind_of(model, form_of(model).kinds, stored)
    bare = {name: value for name, value in stored.items() if not _is_foreign(kind, name)}
    try:
        return form_of(kind).validate_fields(encode(bare))  # type: ignore[no-any-return]
    except ValidationError as second:
        _raise_load_error(model, body, second)


def _is_couchdb_member(path: tuple[int | str, ...]) -> bool:
    return bool(path) and str(path[-1]).startswith("_")


def _is_foreign(model: type[DocumentModel], name: str) -> bool:
    if name.startswith("_"):
        return name not in ("_id", "_rev")
    declared = model.__declared__
    return (
        name in _computed_names(model)
        or (declared.type is not None and name == declared.type_field)
        or (declared.version > 1 and name == VERSION_MEMBER)
        or (name == CHANGE_MEMBER and needs_marks(model))
    )


def _computed_names(model: type[DocumentModel]) -> set[str]:
    return {info.alias or name for name, info in model.__pydantic_computed_fields__.items()}


def _drop_couchdb_members(document: DocumentModel) -> None:
    """Remove CouchDB's own members and the type from those that ``extra="allow"`` kept: users do not change them."""
    extra = document.__pydantic_extra__ or {}
    for name in [name for name in extra if _is_foreign(type(document), name)]:
        del extra[name]


# --- errors


def _raise_load_error(model: type[DocumentModel], body: bytes, error: ValidationError) -> NoReturn:
    try:
        stored = decode(body)
        document_id, newer = stored.get("_id"), _newer_version(model, stored)
    except DocumentError as too_deep:
        document_id, newer = too_deep.document_id, None
    except (ValueError, AttributeError):
        document_id, newer = None, None
    raise _validation_error(model, document_id, error, newer) from error


def _validation_error(
    model: type[DocumentModel], document_id: str | None, error: ValidationError, newer: int | None
) -> DocumentError:
    found: Any = error.errors(include_url=False)
    lines = [f"  {'.'.join(map(str, each['loc'])) or 'document'}: {_say(each)}" for each in found]
    for each in found:
        each.pop("ctx", None)
    if newer is not None:
        known = model.__declared__.version
        lines.append(f"  it is of version {newer} of the schema, and this program knows version {known}: update it")
    message = "\n".join([f"{model.__name__} {document_id!r} does not fit its model:", *lines])
    return DocumentError(message, model=model.__name__, document_id=document_id, errors=found)


def _say(error: Any) -> str:
    match error["type"], error.get("ctx"):
        case "union_tag_invalid", {"discriminator": str(), "tag": tag, "expected_tags": tags} if not error["loc"]:
            return f"it is of the type {tag!r}, not {tags}"
        case "union_tag_not_found", {"discriminator": member} if not error["loc"]:
            return f"it has no member {member}, which tells its type"
    return str(error["msg"])


def _unstorable_error(document: DocumentModel, reason: str) -> DocumentError:
    model = type(document).__name__
    message = f"{model} {document.id!r} cannot be stored: {reason}"
    return DocumentError(message, model=model, document_id=document.id, errors=[])


def _check_fits(document: DocumentModel, body: bytes, text: bytes) -> None:
    """Raise DocumentError unless the model reads ``text`` as the same document. pydantic lets any value be assigned.

    ``text`` is ``body``, the JSON of the fields, with the members that are stored beside them.
    """
    for name in document.__pydantic_extra__ or ():
        if name.startswith("_"):
            raise _unstorable_error(document, f"{name}: members that begin with an underscore are CouchDB's own")
    # Both constants have an N or an I, and a search for one character is far faster than one for a word.
    has_constants = (b"N" in body and b"NaN" in body) or (b"I" in body and b"Infinity" in body)
    if has_constants or body.count(b"[") + body.count(b"{") > _SHALLOW:
        _check_json(document, body)
    form = form_of(type(document))
    if form.is_plain is not None and form.is_plain(document):
        return
    read, attachments = load(type(document), text), form.attachments
    if is_alike(document, read, attachments):
        return
    difference = find_difference(document, read, skipping=attachments)
    if difference is not None:
        raise _unstorable_error(document, str(difference))


_SHALLOW: Final = 150
"""Arrays and objects that a text may have without being too deep for CouchDB, however they are nested."""


def _check_json(document: DocumentModel, body: bytes) -> None:
    """Raise DocumentError for a text that CouchDB would not read: with NaN or infinity, or nested too deeply."""
    try:
        decode(body)
    except DocumentError as error:
        raise _unstorable_error(document, str(error)) from None
    except ValueError:
        where = ", ".join(_nonfinite_paths(from_json(body)))
        raise _unstorable_error(
            document, f"{where}: JSON has no NaN and no infinity; store None or a string instead"
        ) from None


def _nonfinite_paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each NaN and infinity in a JSON value."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _nonfinite_paths(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for n, member in enumerate(value):
            yield from _nonfinite_paths(member, f"{path}.{n}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path
