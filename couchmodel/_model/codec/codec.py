"""Documents to bytes and back: what is stored of a model, and what a model makes of what is stored.

A document is loaded by pydantic's JSON parser from the bytes of the answer, once, and those bytes are kept. What is to
be stored is compared with them, so a load pays nothing for it, and is put into them, so nothing of them is lost.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json

from couchmodel._model.codec.merge import apply_changes
from couchmodel._model.codec.serializers import is_uneven, writer_of
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._wire.equality import same
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import ConfigurationError, DocumentError

__all__ = ["base_of", "change", "dump", "forget", "load", "splice", "stored_as"]

M = TypeVar("M", bound=DocumentModel)


def load(model: type[M], body: bytes, home: object = None) -> M:
    """The document of a JSON text. Raises DocumentError where the text does not fit the model."""
    try:
        document: M = model.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        document = _load_bare(model, body, error)
    if document.__pydantic_extra__:
        _drop_special(document.__pydantic_extra__)
    state.set_stored(document, body)
    state.set_home(document, home)
    return document


def dump(document: DocumentModel) -> bytes:
    """What a document says, without CouchDB's own members, in the form in which it is stored.

    Raises DocumentError for what has no JSON. Whether it fits the model is asked before it is sent, by :func:`change`.
    """
    fast, exact, _ = type(document).__storing__ or writer_of(type(document))
    try:
        body: bytes = fast(document, by_alias=True, warnings=False)
        if exact is not None and is_uneven(body):
            body = exact(document, by_alias=True, warnings=False)
    except (PydanticSerializationError, ValueError) as error:
        raise _unfit(document, str(error)) from None
    return body


def base_of(document: M) -> M | None:
    """The stored revision that a document is a change of, as it was loaded; None where none is known here.

    What was loaded is no base any more for a document that has got another id or revision since, as a copy has. Raises
    ConfigurationError for one that has got another id and kept its revision: it can be neither of the two.
    """
    body = state.stored(document)
    if body is None:
        return None
    base = load(type(document), body, state.home(document))
    if base.id != document.id and document.rev is not None:
        raise ConfigurationError(
            f"the id of {base.id!r} was changed to {document.id!r}: a stored document keeps its id;"
            " to store a copy, set its rev to None as well"
        )
    return base if (base.id, base.rev) == (document.id, document.rev) else None


def change(document: DocumentModel) -> bytes | None:
    """The document to send, with CouchDB's own members; None where what is stored says the same already.

    Only what has changed since the load is changed in what was loaded, so members that the model does not know survive.
    Raises DocumentError where the document does not fit its model any more.
    """
    mine, base = dump(document), base_of(document)
    before = None if base is None else dump(base)
    if mine == before:
        return None
    _check(document, mine)
    if before is None:
        own = {"_id": document.id, "_rev": document.rev} if document.rev else {"_id": document.id}
        return splice(own, mine)
    stored = decode(state.stored(document) or b"{}")
    merged = apply_changes(stored, decode(before), decode(mine))
    return None if same(merged, stored) else encode({**merged, "_id": document.id, "_rev": document.rev})


def stored_as(document: DocumentModel, body: bytes, rev: str) -> None:
    """Take note that ``body``, which was sent, is stored as revision ``rev``."""
    state.set_rev(document, rev)
    state.set_stored(document, encode({**decode(body), "_id": document.id, "_rev": rev}))


def forget(document: DocumentModel) -> None:
    """Take note that the document is not stored any more, nor its attachments."""
    state.set_rev(document, None)
    state.set_stored(document, None)
    for name in writer_of(type(document)).attachments:
        vars(document)[name] = None


def splice(own: Mapping[str, Any], body: bytes) -> bytes:
    """A JSON object with CouchDB's members in front."""
    return encode(own)[:-1] + (b"}" if body == b"{}" else b"," + body[1:])


# --- a model that allows or forbids members that it does not declare


def _load_bare(model: type[M], body: bytes, error: ValidationError) -> M:
    """The document of a model that forbids what it does not declare: CouchDB's members and what it computes itself."""
    if any(each["type"] != "extra_forbidden" for each in error.errors(include_url=False, include_context=False)):
        _refuse(model, body, error)
    stored = decode(body)
    computed = {info.alias or name for name, info in model.__pydantic_computed_fields__.items()}
    bare = {name: value for name, value in stored.items() if not _is_foreign(name, computed)}
    try:
        return model.__pydantic_validator__.validate_json(encode(bare))  # type: ignore[no-any-return]
    except ValidationError as second:
        _refuse(model, body, second)


def _is_foreign(name: str, computed: set[str]) -> bool:
    return name in computed or (name.startswith("_") and name not in ("_id", "_rev"))


def _drop_special(extra: dict[str, Any]) -> None:
    """Take CouchDB's own members away from those that the model allows: they are not the user's to keep or change."""
    for name in [name for name in extra if name.startswith("_")]:
        del extra[name]


# --- errors


def _refuse(model: type[DocumentModel], body: bytes, error: ValidationError) -> NoReturn:
    try:
        document_id = decode(body).get("_id")
    except DocumentError as too_deep:
        document_id = too_deep.document_id
    except (ValueError, AttributeError):
        document_id = None
    raise _error(model, document_id, error) from error


def _error(model: type[DocumentModel], document_id: str | None, error: ValidationError) -> DocumentError:
    found: Any = error.errors(include_url=False, include_context=False)
    lines = [f"  {'.'.join(map(str, each['loc'])) or 'document'}: {each['msg']}" for each in found]
    message = "\n".join([f"{model.__name__} {document_id!r} does not fit its model:", *lines])
    return DocumentError(message, model=model.__name__, document_id=document_id, errors=found)


def _unfit(document: DocumentModel, reason: str) -> DocumentError:
    model = type(document).__name__
    message = f"{model} {document.id!r} cannot be stored: {reason}"
    return DocumentError(message, model=model, document_id=document.id, errors=[])


def _check(document: DocumentModel, mine: bytes) -> None:
    """Raise DocumentError for what the model would not load again as it is: pydantic lets any value be assigned."""
    try:
        decode(mine)
    except DocumentError as error:
        raise _unfit(document, str(error)) from None
    except ValueError:
        where = ", ".join(_constants(from_json(mine)))
        raise _unfit(document, f"{where}: NaN and infinity have no JSON; store None or a string instead") from None
    if dump(load(type(document), splice({"_id": document.id}, mine))) == mine:
        return
    # A validator may have tidied a value up, which is fine, or pydantic a value of another type, which is not.
    try:
        writer_of(type(document)).fast(document, by_alias=True, warnings="error")
    except PydanticSerializationError as error:
        raise _unfit(document, str(error)) from None


def _constants(value: Any, path: str = "") -> Iterator[str]:
    """Where NaN or infinity is."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _constants(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for n, member in enumerate(value):
            yield from _constants(member, f"{path}.{n}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path
