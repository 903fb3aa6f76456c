"""Removal of the older names of members: those that a model still reads a field from, and does not write any more."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import RootModel
from pydantic.fields import FieldInfo

from couchmodel._model.schema.annotations import fields_of, input_names, is_attachment, stored_name

__all__ = ["drop_older_names"]


def drop_older_names(value: Any, stored: Any) -> Any:
    """Return ``stored``, the stored form of a value of a model, without older names, at any depth.

    A name is older if the model reads a field from it and writes the field under another name that is there. A path
    into a member (``AliasPath``) is left alone, since other fields may be read from that member.
    """
    if isinstance(value, RootModel):
        return drop_older_names(value.root, stored)
    if isinstance(stored, dict) and isinstance(value, Mapping):
        return {name: drop_older_names(value[name], each) if name in value else each for name, each in stored.items()}
    if isinstance(stored, list) and isinstance(value, Sequence) and len(stored) == len(value):
        return [drop_older_names(one, each) for one, each in zip(value, stored, strict=True)]
    fields = fields_of(type(value))
    if fields is None or not isinstance(stored, dict):
        return stored
    return _drop_from_model(value, stored, fields)


def _drop_from_model(value: Any, stored: dict[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    kept, by_name = dict(stored), _reads_by_name(type(value))
    taken = {stored_name(name, info) for name, info in fields.items()} | {_type_field(value)}
    for name, info in fields.items():
        current = stored_name(name, info)
        if current not in stored or is_attachment(info.annotation):
            continue
        kept[current] = drop_older_names(getattr(value, name, None), stored[current])
        for older in input_names(name, info, by_name=by_name):
            if older not in taken and not older.startswith("_"):  # those are CouchDB's own
                kept.pop(older, None)
    return kept


def _type_field(value: Any) -> str:
    declared = getattr(value, "__declared__", None)
    return "" if declared is None or declared.type is None else str(declared.type_field)


def _reads_by_name(kind: Any) -> bool:
    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", {})
    return bool(config.get("populate_by_name") or config.get("validate_by_name"))
