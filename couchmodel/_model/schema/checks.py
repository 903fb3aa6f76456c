"""Check a model's class when it is made, so that mistakes raise an error there and not at the first save."""

import warnings
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, AliasGenerator, BaseModel

from couchmodel._model.schema.annotations import bare_type, holds_several, input_names, is_attachment, stored_name
from couchmodel._model.schema.attachments import AttachmentField, attachment_fields, is_bad_name
from couchmodel._model.schema.members.change_marks import CHANGE_MEMBER, needs_marks
from couchmodel._model.schema.members.tombstones import REMARKS_MEMBER
from couchmodel._model.schema.members.versions import VERSION_MEMBER, check_upgrades
from couchmodel.errors import ConfigurationError

__all__ = ["check_class"]

_OWN: Final = frozenset({"id", "rev"})


def check_class(model: Any) -> None:
    """Check the declarations of a model.

    Raises ConfigurationError for one that cannot work. Warns of a field whose name hides a method of pydantic's models.
    """
    _check_fields_attribute(model)
    for name, info in model.__pydantic_fields__.items():
        _check_name(model, name)
        _check_attachment(model, name, info)
    _check_own_fields(model)
    _check_stored_names(model)
    _check_attachment_names(model)
    check_upgrades(model)


def _check_fields_attribute(model: Any) -> None:
    """Refuse an attribute named ``fields`` that is no field: ``Recipe.fields`` has the fields of the model."""
    if "fields" not in model.__pydantic_fields__ and any("fields" in vars(base) for base in model.__mro__):
        raise ConfigurationError(
            f"{model.__name__}.fields has the fields of the model, as in {model.__name__}.fields['id'], and would hide"
            " what the class declares under this name: give it another name"
        )


def _check_name(model: Any, name: str) -> None:
    # pydantic only warns of a field that hides a method. Without save() or find() a model would not work.
    if any(name in vars(base) for base in model.__mro__ if "__verbs__" in vars(base)):
        hint = f'{name}_: … = Field(alias="{name}")'
        raise ConfigurationError(f"{model.__name__}.{name} would hide the method {name}(): write `{hint}`")
    declared_here = name in vars(model).get("__annotations__", {})
    # A subclass that inherits the field is not warned of again.
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
    if not is_attachment(info.annotation) and _has_attachment(info.annotation):
        raise ConfigurationError(
            f"{model.__name__}.{name} has attachments inside another type: declare each as a field of its own,"
            f" `photo: Attachment = attachment()`"
        )


def _has_attachment(annotation: Any) -> bool:
    return any(is_attachment(each) or _has_attachment(each) for each in get_args(bare_type(annotation)))


def _check_own_fields(model: Any) -> None:
    """Check ``id`` and ``rev``, if a class declares them anew."""
    fields = model.__pydantic_fields__
    for name in _OWN & fields.keys():
        _check_own_alias(model, name, fields[name])
    if "id" in fields and not _is_text(fields["id"].annotation):
        annotation: Any = fields["id"].annotation
        if NoneType in get_args(annotation) and _is_text(bare_type(annotation)):
            raise ConfigurationError(
                f"{model.__name__}.id cannot be None: declare it as a str, and leave it out to get one"
            )
        said = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        raise ConfigurationError(
            f"{model.__name__}.id is of {said}, and the ids of CouchDB are text: declare another field of"
            f' {said}, such as `number`, and make the id of it with `id="{{number}}"`'
        )
    # A field of that name would get CouchDB's revision at each load.
    if "rev" in fields and bare_type(fields["rev"].annotation) is not str:
        raise ConfigurationError(
            f"{model.__name__}.rev is the revision that CouchDB assigns, of `str | None`: give your field another name,"
            ' and store it as you like, as in `revision: … = Field(stored_as="rev")`'
        )


def _check_own_alias(model: Any, name: str, info: Any) -> None:
    known = [None, name, AliasChoices(f"_{name}", name), *_generated_aliases(model, name)]
    for given in (info.alias, info.serialization_alias, info.validation_alias):
        if given not in known:
            hint = f'class {model.__name__}(CouchModel, id="{{{given}}}")'
            make = f", and make the id of it with `{hint}`" if name == "id" else ""
            raise ConfigurationError(
                f"{model.__name__}.{name} cannot have the alias {given!r}: declare the field {given!r}{make}"
            )


def _is_text(annotation: Any) -> bool:
    """Return False for a type whose values are not all text. A reference to a type that is not known yet may be one."""
    kind = bare_type(annotation)
    kind = getattr(kind, "__supertype__", kind)  # of a NewType
    if get_origin(kind) is Literal:
        return all(isinstance(each, str) for each in get_args(kind))
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_is_text, get_args(annotation)))
    return not isinstance(kind, type) or issubclass(kind, str)


def _generated_aliases(model: Any, name: str) -> tuple[Any, ...]:
    """Return the aliases that the generator of a model's configuration makes of a name."""
    generator = model.model_config.get("alias_generator")
    if generator is None:
        return ()
    return generator.generate_aliases(name) if isinstance(generator, AliasGenerator) else (generator(name),)


def _check_stored_names(model: Any) -> None:
    """Refuse names that CouchDB keeps for itself, and names that two fields would share."""
    declared = model.__declared__
    taken = _own_names(model)
    for name, info in model.__pydantic_fields__.items():
        # The id and the revision are stored as `_id` and `_rev`, and attachments have names of their own.
        if name in _OWN or is_attachment(info.annotation):
            continue
        stored = stored_name(name, info)
        for alias in input_names(name, info):
            if alias.startswith("_") and alias != stored:
                raise ConfigurationError(
                    f"{model.__name__}.{name} cannot be read from {alias!r}: names that begin with an underscore are"
                    " CouchDB's own"
                )
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


def _own_names(model: Any) -> dict[str, str]:
    """Return the names of the members that are stored beside the fields, each with what it is."""
    taken: dict[str, str] = {}
    declared = model.__declared__
    if declared.type is not None:
        taken[declared.type_field] = "the type of the document"
    if declared.version > 1:
        taken[VERSION_MEMBER] = "the version of the schema"
    if model.__keeps_deleted__:
        taken[REMARKS_MEMBER] = "the remarks of a deletion"
    if needs_marks(model):
        taken[CHANGE_MEMBER] = "the mark of a change"
    return taken


def _check_attachment_names(model: Any) -> None:
    """Refuse names that no attachment has, and names that two fields would share."""
    taken: dict[str, str] = {}
    prefixes: dict[str, str] = {}
    for name, field in attachment_fields(model).items():
        several = holds_several(model.__pydantic_fields__[name].annotation)
        if several and field.has_name:
            raise ConfigurationError(f"{model.__name__}.{name} has several attachments: write prefix=, not name=")
        if not several and field.prefix is not None:
            raise ConfigurationError(f"{model.__name__}.{name} is one attachment: write name=, or declare Attachments")
        stored, others = (field.prefix or "", prefixes) if several else (field.name, taken)
        if stored and is_bad_name(f"{stored}x" if several else stored):
            raise ConfigurationError(
                f"{model.__name__}.{name} would be stored as {stored!r}, and CouchDB keeps names that begin with an"
                " underscore for itself, while '.' and '..' are steps in a path"
            )
        if stored in others:
            hint = 'attachment(prefix="…")' if several else 'attachment(name="…")'
            raise ConfigurationError(
                f"{model.__name__}.{name} and {others[stored]} are both the attachment {stored!r}: write `{hint}`"
            )
        others[stored] = name
    for prefix, name in prefixes.items():
        for other, owner in (taken | prefixes).items():
            if prefix and other != prefix and other.startswith(prefix):
                raise ConfigurationError(
                    f"{model.__name__}.{owner} and {model.__name__}.{name} would both have the attachment {other!r}:"
                    " give one of them another prefix or name"
                )
