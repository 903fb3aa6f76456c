"""The order of a query: fields of the class, or names from outside that are checked."""

from typing import Any

from couchmodel._model.query.selector import check_root
from couchmodel._model.schema.expressions.field_expressions import FieldExpression
from couchmodel._model.schema.expressions.paths import UnknownPathError, stored_path
from couchmodel._model.schema.expressions.places import Ordering, mango_path, place_of
from couchmodel.errors import QueryError

__all__ = ["read_order"]


def read_order(model: Any, fields: tuple[Any, ...]) -> tuple[Ordering, ...]:
    """Return the order by fields of a model, as ``Recipe.rating.desc()``, or by their names, as ``"-rating"``.

    Raises QueryError if a field is unknown, or if some fields ascend and others descend.
    """
    found = tuple(_read_field(model, field) for field in fields)
    if len({ordering.direction for ordering in found}) > 1:
        said = ", ".join(f"{ordering.path} {ordering.direction}" for ordering in found)
        raise QueryError(
            f"a sort has one direction, and not {said}: CouchDB reads an index forwards or backwards, so"
            " sort by the first field in the store and by the others in the program"
        )
    return found


def _read_field(model: Any, field: Any) -> Ordering:
    if isinstance(field, Ordering):
        return field
    if isinstance(field, FieldExpression):
        check_root(model, place_of(field))
        return field.asc()
    if isinstance(field, str):
        name = field.removeprefix("-")
        try:
            path = mango_path(stored_path(model, name))
        except UnknownPathError as error:
            raise QueryError(f"sort({field!r}): {error}") from None
        return Ordering(path, "asc" if name == field else "desc")
    raise QueryError(
        "sort() takes fields of the class, such as Recipe.rating or Recipe.rating.desc(), or their names,"
        f' such as "-rating", not {field!r}'
    )
