"""Loading documents from JSON texts, and writing them to JSON texts.

pydantic's JSON parser loads a document from the bytes of the answer, once, and those bytes are kept. A document that is
to be stored is compared with them, so the detection of changes costs a load nothing. Its changes are merged into them,
so members that the model does not know are kept.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json

from couchmodel._model.codec.merge import apply_changes
from couchmodel._model.codec.serializers import needs_exact, writer_of
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._wire.equality import same
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import ConfigurationError, DocumentError

__all__ = ["base_of", "body_to_send", "dump", "load", "note_deleted", "note_stored", "splice"]

M = TypeVar("M", bound=DocumentModel)


def load(model: type[M], body: bytes, home: object = None) -> M:
    """Return the document of a JSON text; ``home`` is its repository.

    Raises DocumentError if the text does not fit the model.
    """
    try:
        document: M = model.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        # A model that forbids undeclared members fails here, and pays for a second try. All others load in one step.
        document = _load_bare(model, body, error)
    if document.__pydantic_extra__:  # set only if the model allows undeclared members
        _drop_couchdb_members(document.__pydantic_extra__)
    state.set_stored_body(document, body)
    state.set_home(document, home)
    return document


def dump(document: DocumentModel) -> bytes:
    """Return the JSON text of a document as it is stored, without CouchDB's own members.

    Raises DocumentError if a value cannot be written as JSON. Does not check whether the document fits its model, which
    :func:`body_to_send` does.
    """
    fast, exact, _ = type(document).__storing__ or writer_of(type(document))
    try:
        body: bytes = fast(document, by_alias=True, warnings=False)
        if exact is not None and needs_exact(body):
            body = exact(document, by_alias=True, warnings=False)
    except (PydanticSerializationError, ValueError) as error:
        raise _unstorable_error(document, str(error)) from None
    return body


def base_of(document: M) -> M | None:
    """Return the stored revision that a document was made from, as it was loaded; None if it is not known.

    A document has no base any more if its revision was changed or removed since the load, as in a copy. Raises
    ConfigurationError if its id was changed and its revision kept: that revision belongs to the old id.
    """
    body = state.stored_body(document)
    if body is None:
        return None
    base = load(type(document), body, state.home(document))
    if base.id != document.id and document.rev is not None:
        raise ConfigurationError(
            f"the id of the stored document {base.id!r} cannot be changed to {document.id!r}:"
            " to store a copy, set its rev to None as well"
        )
    return base if (base.id, base.rev) == (document.id, document.rev) else None


def body_to_send(document: DocumentModel) -> bytes | None:
    """Return the JSON text to send, with ``_id`` and ``_rev``; None if the same is stored already.

    It is the loaded text with the changes made since the load, so members that the model does not know are kept. Raises
    DocumentError if the document does not fit its model any more.
    """
    mine, base = dump(document), base_of(document)
    before = None if base is None else dump(base)
    if mine == before:
        return None
    _check_fits(document, mine)
    if before is None:
        own = {"_id": document.id, "_rev": document.rev} if document.rev else {"_id": document.id}
        return splice(own, mine)
    stored = decode(state.stored_body(document) or b"{}")
    merged = apply_changes(stored, decode(before), decode(mine))
    return None if same(merged, stored) else encode({**merged, "_id": document.id, "_rev": document.rev})


def note_stored(document: DocumentModel, body: bytes, rev: str) -> None:
    """Record that ``body``, which was sent, is stored as revision ``rev``."""
    state.set_rev(document, rev)
    state.set_stored_body(document, encode({**decode(body), "_id": document.id, "_rev": rev}))


def note_deleted(document: DocumentModel) -> None:
    """Record that the document and its attachments were deleted."""
    state.set_rev(document, None)
    state.set_stored_body(document, None)
    for name in writer_of(type(document)).attachments:
        vars(document)[name] = None


def splice(own: Mapping[str, Any], body: bytes) -> bytes:
    """Return the JSON object ``body`` with the members ``own`` in front, without decoding it."""
    return encode(own)[:-1] + (b"}" if body == b"{}" else b"," + body[1:])


# --- models that allow or forbid undeclared members


def _load_bare(model: type[M], body: bytes, error: ValidationError) -> M:
    """Load the document of a model that forbids undeclared members (``extra="forbid"``).

    A stored document has CouchDB's members and the model's computed fields, which the model does not declare, so they
    are taken out first.
    """
    if any(each["type"] != "extra_forbidden" for each in error.errors(include_url=False, include_context=False)):
        _raise_load_error(model, body, error)
    stored = decode(body)
    computed = {info.alias or name for name, info in model.__pydantic_computed_fields__.items()}
    bare = {name: value for name, value in stored.items() if not _is_foreign(name, computed)}
    try:
        return model.__pydantic_validator__.validate_json(encode(bare))  # type: ignore[no-any-return]
    except ValidationError as second:
        _raise_load_error(model, body, second)


def _is_foreign(name: str, computed: set[str]) -> bool:
    return name in computed or (name.startswith("_") and name not in ("_id", "_rev"))


def _drop_couchdb_members(extra: dict[str, Any]) -> None:
    """Remove CouchDB's own members from those that ``extra="allow"`` kept: users are not to keep or change them."""
    for name in [name for name in extra if name.startswith("_")]:
        del extra[name]


# --- errors


def _raise_load_error(model: type[DocumentModel], body: bytes, error: ValidationError) -> NoReturn:
    try:
        document_id = decode(body).get("_id")
    except DocumentError as too_deep:
        document_id = too_deep.document_id
    except (ValueError, AttributeError):
        document_id = None
    raise _validation_error(model, document_id, error) from error


def _validation_error(model: type[DocumentModel], document_id: str | None, error: ValidationError) -> DocumentError:
    found: Any = error.errors(include_url=False, include_context=False)
    lines = [f"  {'.'.join(map(str, each['loc'])) or 'document'}: {each['msg']}" for each in found]
    message = "\n".join([f"{model.__name__} {document_id!r} does not fit its model:", *lines])
    return DocumentError(message, model=model.__name__, document_id=document_id, errors=found)


def _unstorable_error(document: DocumentModel, reason: str) -> DocumentError:
    model = type(document).__name__
    message = f"{model} {document.id!r} cannot be stored: {reason}"
    return DocumentError(message, model=model, document_id=document.id, errors=[])


def _check_fits(document: DocumentModel, mine: bytes) -> None:
    """Raise DocumentError if the model would not load ``mine`` again as it is. pydantic lets any value be assigned."""
    try:
        decode(mine)
    except DocumentError as error:
        raise _unstorable_error(document, str(error)) from None
    except ValueError:
        where = ", ".join(_nonfinite_paths(from_json(mine)))
        raise _unstorable_error(
            document, f"{where}: JSON has no NaN and no infinity; store None or a string instead"
        ) from None
    if dump(load(type(document), splice({"_id": document.id}, mine))) == mine:
        return
    # The text changes in a load if a validator tidies a value up, which is fine, or if a field has a value of another
    # type that pydantic converts, which is not.
    try:
        writer_of(type(document)).fast(document, by_alias=True, warnings="error")
    except PydanticSerializationError as error:
        raise _unstorable_error(document, str(error)) from None


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
