"""Read the rows of an answer: as documents, as models of some of their fields, or as values of fields."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from couchmodel._model.codec.forms import read_value
from couchmodel._model.query.selector import check_root
from couchmodel._model.schema.expressions.field_expressions import FieldExpression, field_of
from couchmodel._model.schema.expressions.places import Place, place_of
from couchmodel._model.schema.links.link import is_link
from couchmodel._model.schema.suggestions import nearest
from couchmodel._wire.messages import decode
from couchmodel.errors import DocumentError, QueryError

__all__ = ["ProjectionReader", "RowReader", "ValuesReader", "member_at"]

T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E", bound=BaseModel)

_TOP: Final = {"id": Place(("_id",), str), "rev": Place(("_rev",), str)}


class RowReader(Protocol[T_co]):
    """A reader of rows."""

    @property
    def paths(self) -> Sequence[str]:
        """The members that the reader needs, in Mango's notation."""
        ...

    def read(self, row: bytes) -> T_co:
        """Return the result of a row. Raises DocumentError if a value does not fit its field."""
        ...


class ProjectionReader(Generic[E]):
    """Makes a model of the fields of documents that have the same names."""

    def __init__(self, model: Any, projected: type[E]) -> None:
        """Raises QueryError if a field of ``projected`` that is required is no field of ``model``."""
        if not isinstance(projected, type) or not issubclass(projected, BaseModel):
            raise QueryError(f"project() takes a pydantic model, such as Card, not {projected!r}")
        self._model = model
        self._projected = projected
        self._places: dict[str, Place] = {}
        for name, info in projected.__pydantic_fields__.items():
            if name in model.__pydantic_fields__:
                self._places[name] = _TOP.get(name) or place_of(field_of(model, name, root=model))
            elif info.is_required():
                raise QueryError(
                    f"{projected.__name__}.{name} is no field of {model.__name__}"
                    f"{nearest(name, model.__pydantic_fields__)}"
                )
        # A link that the projected model does not declare as a link is read as the id.
        self._ids = {
            name
            for name, place in self._places.items()
            if is_link(place.annotation) and not is_link(projected.__pydantic_fields__[name])
        }
        self.paths: Sequence[str] = [place.path for place in self._places.values()]

    def read(self, row: bytes) -> E:
        """Return the model of a row. A field that the document lacks is left to the model's default."""
        document = decode(row)
        values = {}
        for name, place in self._places.items():
            found = member_at(document, place.names, ABSENT)
            if found is not ABSENT:
                values[name] = found if name in self._ids else _read(self._model, place, found, document)
        try:
            # The values are by the names of fields here, whatever aliases the model has.
            return self._projected.model_validate(values, by_name=True)
        except ValidationError as error:
            raise _misfit(self._projected, document, error) from error


class ValuesReader:
    """Reads the values of fields: one, or a tuple of several."""

    def __init__(self, model: Any, fields: Iterable[Any]) -> None:
        """Raises QueryError if a field is none of the model's class."""
        self._model = model
        self._places = [_require_field(model, field) for field in fields]
        if not self._places:
            raise QueryError("values() takes fields of the class, such as Recipe.title")
        self.paths: Sequence[str] = [place.path for place in self._places]

    def read(self, row: bytes) -> Any:
        """Return the value, or the tuple of values. One that the document lacks is None."""
        document = decode(row)
        found = [self._value(document, place) for place in self._places]
        return found[0] if len(found) == 1 else tuple(found)

    def _value(self, document: Mapping[str, Any], place: Place) -> Any:
        found = member_at(document, place.names, None)
        return None if found is None else _read(self._model, place, found, document)


ABSENT: Final = object()


def member_at(document: Any, names: Iterable[str], default: Any = None) -> Any:
    """Return the member of a JSON object at a path of names; ``default`` if there is none."""
    for name in names:
        if isinstance(document, dict) and name in document:
            document = document[name]
        # In Mango's paths, a number is also the index of an element.
        elif isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            document = document[int(name)]
        else:
            return default
    return document


def _require_field(model: Any, field: Any) -> Place:
    if not isinstance(field, FieldExpression):
        raise QueryError(f"a field of the class is needed, such as Recipe.title, not {field!r}")
    check_root(model, place_of(field))
    return place_of(field)


def _read(model: Any, place: Place, value: Any, document: Mapping[str, Any]) -> Any:
    try:
        return read_value(place, value)
    except ValidationError as error:
        raise _misfit(model, document, error, place.path) from error


def _misfit(model: Any, document: Mapping[str, Any], error: ValidationError, path: str = "") -> DocumentError:
    found: Any = error.errors(include_url=False, include_context=False)
    lines = [f"  {'.'.join([path, *map(str, each['loc'])]).strip('.')}: {each['msg']}" for each in found]
    id = document.get("_id")
    message = "\n".join([f"{model.__name__} {id!r} does not fit its model:", *lines])
    return DocumentError(message, model=model.__name__, document_id=id, errors=found)
