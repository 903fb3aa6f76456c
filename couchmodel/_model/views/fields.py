"""The fields of which the keys and values of a view are made: their places in a document, and their types."""

from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from couchmodel._model.schema.annotations import bare_type, element_type, fields_of, stored_name
from couchmodel._model.schema.expressions.paths import UnknownPathError, stored_path
from couchmodel._model.schema.expressions.places import Place
from couchmodel._model.schema.links.link import target_of
from couchmodel.errors import ConfigurationError

__all__ = ["ViewField", "element_of", "field_at", "linked_value"]


class ViewField(NamedTuple):
    """A field of a view's key or value.

    ``place`` is where the value is stored, with the type by which an operand is encoded. ``annotation`` is the type by
    which what is stored is read, and ``said`` the type that a user declares. ``is_link`` is true for a link.
    """

    path: str
    place: Place
    annotation: Any
    said: Any
    is_link: bool = False


def field_at(model: Any, path: str, where: str) -> ViewField:
    """Return the field of a path such as ``"author.name"``. Raises ConfigurationError if there is none.

    ``where`` names the view in errors.
    """
    if not isinstance(path, str) or not path:
        raise ConfigurationError(f"{where}: a key or value is the name of a field, as in 'rating', not {path!r}")
    try:
        names = stored_path(model, path)
    except UnknownPathError as error:
        raise ConfigurationError(f"{where} is on an unknown field: {error}") from None
    place = _place(model, path.split("."), names, where)
    target = target_of(place.annotation)
    if target is not None:
        said: Any = str | None if target.is_optional else str
        return ViewField(path, place, said, said, is_link=True)
    return ViewField(path, place, place.annotation, _without_metadata(place.annotation))


def element_of(field: ViewField) -> ViewField | None:
    """Return the element of a field that is a list or a set; None for any other field."""
    element = element_type(field.place.annotation)
    if element is None:
        return None
    target = target_of(element)
    place = Place(field.place.names, element)
    said: Any = str if target is not None else _without_metadata(element)
    return ViewField(field.path, place, said if target is not None else element, said, is_link=target is not None)


def linked_value(annotation: Any) -> Any:
    """Return the type by which the value of a link is read: CouchDB's link ``{"_id": …}`` as the id."""
    return Annotated[annotation, BeforeValidator(lambda value: value.get("_id") if isinstance(value, dict) else value)]


def _place(model: Any, parts: list[str], names: tuple[str, ...], where: str) -> Place:
    first = names[0]
    if first in ("_id", "_rev") or (first == model.__declared__.type_field and model.__declared__.type is not None):
        return Place(names, str)
    kind: Any = model
    annotation: Any = model
    owner: tuple[type, str] | None = None
    for n, part in enumerate(parts):
        fields = fields_of(kind)
        if fields is None:
            if element_type(kind) is not None:
                raise ConfigurationError(f"{where}: {'.'.join(parts[:n])!r} is a list, whose elements have no path")
            return Place(names, Any)
        # The path may name a field by its own name or by the one it is stored under.
        name = part if part in fields else next(key for key, info in fields.items() if stored_name(key, info) == part)
        info = fields[name]
        annotation = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        owner, kind = (kind, name), bare_type(info.annotation)
    return Place(names, annotation, owner)


def _without_metadata(annotation: Any) -> Any:
    """Return a type without its own metadata, such as limits of numbers."""
    return getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
