"""Copies of documents: as documents of their own, and as what they were before a change."""

from copy import deepcopy
from typing import TypeVar

from couchmodel._model.codec import codec
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel.errors import ConfigurationError

__all__ = ["duplicate", "snapshot"]

M = TypeVar("M", bound=DocumentModel)


def duplicate(document: M, id: str | None) -> M:
    """Return a copy of a document that is not stored, with another id: a new one if none is given.

    Raises ConfigurationError if no id is given and the model makes none.
    """
    copy = document.model_copy(deep=True)
    fields = type(document).__pydantic_fields__
    for name in vars(copy).keys() - fields:  # the values of cached properties
        del vars(copy)[name]
    codec.note_deleted(copy)
    if id is not None:
        copy.__pydantic_fields_set__.add("id")
        state.set_id(copy, id)
        return copy
    if fields["id"].is_required():
        raise ConfigurationError(f"{type(document).__name__} makes no ids: say which, as in duplicate(id=…)")
    copy.__pydantic_fields_set__.discard("id")
    state.set_id(copy, fields["id"].get_default(call_default_factory=True, validated_data=vars(copy)))
    return copy


def snapshot(document: M) -> M:
    """Return a copy of a document that keeps its values while the document is changed.

    Private attributes are shared, and cached properties are left out: they may hold what cannot be copied, such as a
    lock or a connection.
    """
    copy = document.model_copy()
    values = {name: value for name, value in vars(copy).items() if name in type(document).__pydantic_fields__}
    values, extra = deepcopy((values, copy.__pydantic_extra__))
    object.__setattr__(copy, "__dict__", values)
    object.__setattr__(copy, "__pydantic_extra__", extra)
    return copy
