"""The query parameters of a list: filters by fields, the order, and the page."""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from couchmodel._model.model import CouchModel
from couchmodel._model.query.query import Query
from couchmodel._model.schema.annotations import bare_type, element_type, fields_of
from couchmodel._model.schema.expressions.conditions import Condition
from couchmodel._model.schema.expressions.field_expressions import FieldExpression
from couchmodel._model.schema.expressions.paths import UnknownPathError, stored_path
from couchmodel._model.schema.expressions.places import place_of
from couchmodel._model.schema.field_options import storage_options
from couchmodel._model.schema.links.link import Link
from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import ConfigurationError
from couchmodel.integrations._core.problems import ProblemError, field_errors

__all__ = ["Filter", "ListOptions", "list_options"]

M = TypeVar("M", bound=CouchModel)

_ORDERED: Final = (int, float, Decimal, str, dt.datetime, dt.date, dt.time, dt.timedelta)
_TRUE: Final = TypeAdapter(bool)


@dataclass(frozen=True, slots=True)
class Filter:
    """A query parameter that narrows a list: ``rating__gte`` asks that ``rating`` is at least its value."""

    name: str
    adapter: TypeAdapter[Any]
    is_many: bool
    condition: Callable[[Any], Condition]
    description: str

    def read(self, values: list[str]) -> Condition:
        """Return the condition of the parameter's values. Raises pydantic's ValidationError if one does not fit."""
        # Parameters are texts. A strict field would refuse them, if they were validated as Python or as JSON.
        read = [self.adapter.validate_strings(each) for each in values]
        return self.condition(read if self.is_many else read[-1])


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The parameters of a list: its filters by name, the fields that it may be sorted by, and the size of a page."""

    filters: Mapping[str, Filter]
    sorts: Sequence[str]
    default_size: int
    max_size: int

    @property
    def orders(self) -> list[str]:
        """The values of ``sort``."""
        return [sign + name for name in self.sorts for sign in ("", "-")]

    def apply(self, query: Query[M], pairs: Iterable[tuple[str, str]]) -> tuple[Query[M], int, str | None]:
        """Return the query, the size of the page and the token of the page that the parameters of a request ask for.

        Raises ProblemError 422 for unknown parameters and for values that do not fit.
        """
        given: dict[str, list[str]] = {}
        for name, value in pairs:
            given.setdefault(name, []).append(value)
        errors: list[dict[str, Any]] = []
        size = self._read_size(given.pop("size", None), errors)
        # Of a parameter that comes several times, the last one counts.
        after = given.pop("after", [None])[-1]
        for order in given.pop("sort", [])[-1:]:
            if order in self.orders:
                query = query.sort(order)
            else:
                said = f"one of {', '.join(self.orders)}" if self.sorts else "left out: this list has one order"
                errors.append(_error("sort", "enum", f"The order has to be {said}"))
        for name, values in given.items():
            query = self._filter(query, name, values, errors)
        if errors:
            raise ProblemError(422, f"The query does not fit: {_names(errors)}.", errors=errors)
        return query, size, after

    def _filter(self, query: Query[M], name: str, values: list[str], errors: list[dict[str, Any]]) -> Query[M]:
        found = self.filters.get(name)
        if found is None:
            errors.append(_error(name, "unknown", f"There is no such filter{nearest(name, self.filters)}"))
            return query
        try:
            return query.find(found.read(values))
        except ValidationError as error:
            errors += field_errors(error.errors(include_url=False, include_context=False), "query", name)
            return query

    def _read_size(self, values: list[str] | None, errors: list[dict[str, Any]]) -> int:
        if values is None:
            return self.default_size
        # ``int`` takes underscores and digits of other scripts, and refuses thousands of digits by an error of its own.
        size = int(values[-1]) if re.fullmatch("[0-9]{1,9}", values[-1]) else 0
        if not 0 < size <= self.max_size:
            errors.append(_error("size", "size", f"The size of a page is from 1 to {self.max_size}"))
        return size


def list_options(
    model: type[CouchModel],
    filters: Iterable[str] | None = None,
    sorts: Iterable[str] | None = None,
    default_size: int = 20,
    max_size: int = 100,
) -> ListOptions:
    """Return the parameters of the list of a model. ``filters`` and ``sorts`` are fields, or paths of fields.

    By default they are the fields that an index leads with. Raises ConfigurationError for an unknown field, and for one
    that no client may read: a filter would tell its value.
    """
    leading = _leading_fields(model)
    found: dict[str, Filter] = {}
    for path in leading if filters is None else filters:
        for each in _filters_of(path, _field_at(model, path)):
            found[each.name] = each
    names = list(leading if sorts is None else sorts)
    for path in names:
        _field_at(model, path)
    return ListOptions(found, names, default_size, max_size)


def _leading_fields(model: type[CouchModel]) -> list[str]:
    declared = [index.fields[0] for index in model.__declared__.indexes if index.where is None]
    own = [name for name, info in model.__pydantic_fields__.items() if storage_options(info).index]
    return [path for path in dict.fromkeys([*declared, *own]) if not _is_hidden(model, path)]


def _is_hidden(model: Any, path: str) -> bool:
    """Return True if clients may not read the field at a path, or a field on the way to it."""
    first, _, rest = path.partition(".")
    info = (fields_of(bare_type(model)) or {}).get(first)
    # A filter by a hidden field would tell its value, answer by answer.
    return info is not None and (bool(info.exclude) or (rest != "" and _is_hidden(info.annotation, rest)))


def _field_at(model: type[CouchModel], path: str) -> FieldExpression[Any]:
    """Return the field at a path. Raises ConfigurationError if there is none, or if clients may not read it."""
    if isinstance(path, FieldExpression):
        raise ConfigurationError(f"filters= and sorts= are names of fields, such as 'rating', not {path!r}")
    first, *rest = path.split(".")
    try:
        stored_path(model, path)
        field = model.fields[first]
        for name in rest:
            field = field[name]
    except (UnknownPathError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"{model.__name__} cannot be listed by {path!r}: {error}") from None
    if _is_hidden(model, path):
        raise ConfigurationError(f"{model.__name__} cannot be listed by {path!r}: clients may not read it")
    return field


def _filters_of(path: str, field: FieldExpression[Any]) -> Iterable[Filter]:
    annotation = place_of(field).annotation
    kind = _comparable_type(annotation)
    element = element_type(kind)
    if element is not None:
        adapter = TypeAdapter(_comparable_type(element))
        yield Filter(f"{path}__contains", adapter, True, field.contains_all, f"`{path}` has each of these elements")
        return
    adapter = TypeAdapter(kind)
    yield Filter(path, adapter, False, field.__eq__, f"`{path}` is this")
    yield Filter(f"{path}__ne", adapter, False, field.__ne__, f"`{path}` is not this")
    yield Filter(f"{path}__in", adapter, True, field.in_, f"`{path}` is one of these")
    if bare_type(annotation) is not kind:  # links have no order
        return
    if isinstance(kind, type) and issubclass(kind, _ORDERED) and not issubclass(kind, bool):
        yield Filter(f"{path}__lt", adapter, False, field.__lt__, f"`{path}` is less than this")
        yield Filter(f"{path}__lte", adapter, False, field.__le__, f"`{path}` is at most this")
        yield Filter(f"{path}__gt", adapter, False, field.__gt__, f"`{path}` is greater than this")
        yield Filter(f"{path}__gte", adapter, False, field.__ge__, f"`{path}` is at least this")
    if isinstance(kind, type) and issubclass(kind, str):
        text: Any = field
        yield Filter(f"{path}__startswith", TypeAdapter(str), False, text.startswith, f"`{path}` begins with this")
        yield Filter(f"{path}__contains", TypeAdapter(str), False, text.contains, f"`{path}` has this part")
    if _may_be_none(annotation):
        yield Filter(f"{path}__isnull", _TRUE, False, _null_condition(field), f"`{path}` is null, or is not")


def _comparable_type(annotation: Any) -> Any:
    """Return the type of the values that a field is compared with: for a link, that of ids."""
    kind = bare_type(annotation)
    return str if (get_origin(kind) or kind) is Link else kind


def _may_be_none(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _may_be_none(get_args(annotation)[0])
    return type(None) in get_args(annotation)


def _null_condition(field: FieldExpression[Any]) -> Callable[[bool], Condition]:
    return lambda yes: field.is_none() if yes else field != None  # noqa: E711 - a condition


def _error(name: str, kind: str, message: str) -> dict[str, Any]:
    return {"loc": ["query", name], "msg": message, "type": kind}


def _names(errors: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(each["loc"][1]) for each in errors))
