"""Checks of a model's class when it is made. Mistakes that would show later are told at once."""

import warnings
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel

from couchmodel._model.schema.annotations import bare_type, is_attachment, stored_name
from couchmodel._model.schema.fields import AttachmentField
from couchmodel._model.schema.versions import VERSION_MEMBER
from couchmodel.errors import ConfigurationError

__all__ = ["check_class"]

_OWN: Final = ("id", "rev")


def check_class(model: Any) -> None:
    """Check the declarations of a model.

    Raises ConfigurationError for one that cannot work. Warns of a field whose name hides a method of pydantic's models.
    """
    for name, info in model.__pydantic_fields__.items():
        _check_name(model, name)
        _check_attachment(model, name, info)
    _check_id(model)
    _check_stored_names(model)
    _check_attachment_names(model)


def _check_name(model: Any, name: str) -> None:
    if any(name in vars(base) for base in model.__mro__ if "__verbs__" in vars(base)):
        hint = f'{name}_: … = Field(alias="{name}")'
        raise ConfigurationError(f"{model.__name__}.{name} would hide the method {name}(): write `{hint}`")
    declared_here = name in vars(model).get("__annotations__", {})
    if declared_here and (hasattr(BaseModel, name) or hasattr(type(model), name)):
        warnings.warn(
            f"{model.__name__}.{name} is an attribute of every model, so in queries the field is"
            f" {model.__name__}.fields[{name!r}]",
            stacklevel=4,
        )


def _check_attachment(model: Any, name: str, info: Any) -> None:
    if isinstance(info.default, AttachmentField) or (
        is_attachment(info.annotation)
        and not any(isinstance(vars(base).get(name), AttachmentField) for base in model.__mro__)
    ):
        raise ConfigurationError(
            f"{model.__name__}.{name} is declared as `{name}: Attachment = attachment()`"
            f" in the body of {model.__name__} or of another CouchModel, not elsewhere"
        )


def _check_id(model: Any) -> None:
    info = model.__pydantic_fields__.get("id")
    if info is None:
        return
    kind = bare_type(info.annotation)
    if info.alias is not None or info.serialization_alias is not None:
        said = info.alias or info.serialization_alias
        hint = f'class {model.__name__}(CouchModel, id="{{{said}}}")'
        raise ConfigurationError(
            f"{model.__name__}.id cannot have the alias {said!r}: declare the field {said!r}, and make the id of it"
            f" with `{hint}`"
        )
    texts = get_origin(kind) is Literal and all(isinstance(each, str) for each in get_args(kind))
    if isinstance(kind, type) and not issubclass(kind, str) and not texts:
        raise ConfigurationError(
            f"{model.__name__}.id is of {kind.__name__}, and the ids of CouchDB are text: declare another field of"
            f' {kind.__name__}, such as `number`, and make the id of it with `id="{{number}}"`'
        )


def _check_stored_names(model: Any) -> None:
    """Refuse names that CouchDB keeps for itself, and names that two fields would share."""
    taken: dict[str, str] = {}
    declared = model.__declared__
    if declared.type is not None:
        taken[declared.type_field] = "the type of the document"
    if declared.version > 1:
        taken[VERSION_MEMBER] = "the version of the schema"
    for name, info in model.__pydantic_fields__.items():
        if name in _OWN or is_attachment(info.annotation):
            continue
        stored = stored_name(name, info)
        if stored.startswith("_"):
            raise ConfigurationError(
                f"{model.__name__}.{name} would be stored as {stored!r}, and names that begin with an underscore are"
                f' CouchDB\'s own: write `Field(stored_as="{stored.lstrip("_") or name}")`'
            )
        if stored in taken:
            hint = 'Field(stored_as="…")' if stored != declared.type_field else 'type_field="…"'
            raise ConfigurationError(
                f"{model.__name__}.{name} and {taken[stored]} would both be stored as {stored!r}: write `{hint}`"
            )
        taken[stored] = name


def _check_attachment_names(model: Any) -> None:
    taken: dict[str, str] = {}
    for name, info in model.__pydantic_fields__.items():
        if not is_attachment(info.annotation):
            continue
        field = next(vars(base)[name] for base in model.__mro__ if isinstance(vars(base).get(name), AttachmentField))
        if field.name.startswith("_"):
            raise ConfigurationError(
                f"{model.__name__}.{name} would be stored as {field.name!r}, and CouchDB keeps names that begin with an"
                " underscore for itself"
            )
        if field.name in taken:
            raise ConfigurationError(
                f"{model.__name__}.{name} and {taken[field.name]} are both the attachment {field.name!r}:"
                ' write `attachment(name="…")`'
            )
        taken[field.name] = name
