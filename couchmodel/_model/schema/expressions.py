"""Conditions on the fields of a model, as values: ``Recipe.rating >= 4`` makes one, and nothing is sent.

What a condition means to CouchDB is said elsewhere (:mod:`couchmodel._model.query.selector`), because its operands pass
through the same codec as stored values.
"""

import types
from collections.abc import Iterable
from typing import (
    Annotated,
    Any,
    Generic,
    NamedTuple,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    overload,
)

from pydantic import BaseModel

from couchmodel.errors import QueryError

__all__ = ["Comparison", "Condition", "FieldExpression", "Group", "Negation", "Ordering", "col", "field_of"]

T = TypeVar("T")
V = TypeVar("V")


class Condition:
    """Something that is true of a document or is not. Combine conditions with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: "Condition | bool") -> "Condition":
        return Group("$and", (self, checked(other)))

    def __or__(self, other: "Condition | bool") -> "Condition":
        return Group("$or", (self, checked(other)))

    def __invert__(self) -> "Condition":
        return Negation(self)

    def __bool__(self) -> NoReturn:
        raise QueryError("a condition is neither true nor false by itself: combine conditions with &, | and ~")


class Comparison(Condition):
    """A field, an operator of Mango, and what the field is compared with."""

    __slots__ = ("field", "operand", "operator")

    def __init__(self, field: "FieldExpression[Any]", operator: str, operand: object) -> None:
        self.field = field
        self.operator = operator
        self.operand = operand

    def __repr__(self) -> str:
        return f"<{self.field.path} {self.operator} {self.operand!r}>"


class Group(Condition):
    """Conditions that must hold all (``$and``) or of which one must hold (``$or``)."""

    __slots__ = ("members", "operator")

    def __init__(self, operator: str, members: tuple[Condition, ...]) -> None:
        self.operator = operator
        self.members = members

    def __repr__(self) -> str:
        return f"<{self.operator} {self.members!r}>"


class Negation(Condition):
    """A condition that must not hold. CouchDB calls a condition on a missing field false, and its negation as well."""

    __slots__ = ("member",)

    def __init__(self, member: Condition) -> None:
        self.member = member

    def __repr__(self) -> str:
        return f"<$not {self.member!r}>"


class Ordering(NamedTuple):
    """A field to sort by, and which way: ``"asc"`` or ``"desc"``."""

    path: str
    direction: str = "asc"


class FieldExpression(Generic[T]):
    """A field of a model, as it is reached on the class: ``Recipe.author.name``.

    Comparing it makes a condition. A field of an embedded model is reached as an attribute, or with brackets where it
    is named like a method here; an element of a list by its index, a member of a dictionary by its key.
    """

    __slots__ = ("_annotation", "_names", "_owner")

    def __init__(
        self, names: tuple[str, ...], annotation: Any, owner: tuple[type[BaseModel], str] | None = None
    ) -> None:
        self._names = names
        self._annotation = annotation
        self._owner = owner

    @property
    def path(self) -> str:
        """The field's path in a stored document, as Mango writes it, with dots inside a name escaped."""
        return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in self._names)

    @property
    def annotation(self) -> Any:
        """The type that the model declares, with its metadata."""
        return self._annotation

    @property
    def owner(self) -> tuple[type[BaseModel], str] | None:
        """The model that declares the field, and its name there; None for an element of a list or a dictionary."""
        return self._owner

    def __eq__(self, other: T) -> Condition:  # type: ignore[override]
        return Comparison(self, "$eq", other)

    def __ne__(self, other: T) -> Condition:  # type: ignore[override]
        return Comparison(self, "$ne", other)

    def __lt__(self, other: T) -> Condition:
        return Comparison(self, "$lt", other)

    def __le__(self, other: T) -> Condition:
        return Comparison(self, "$lte", other)

    def __gt__(self, other: T) -> Condition:
        return Comparison(self, "$gt", other)

    def __ge__(self, other: T) -> Condition:
        return Comparison(self, "$gte", other)

    __hash__ = None  # type: ignore[assignment]

    def in_(self, values: Iterable[T]) -> Condition:
        """The field is one of these."""
        return Comparison(self, "$in", list(values))

    def not_in(self, values: Iterable[T]) -> Condition:
        """The field is there and is none of these."""
        return Comparison(self, "$nin", list(values))

    def exists(self, yes: bool = True) -> Condition:
        """The stored document has the field, whatever its value; or has it not."""
        return Comparison(self, "$exists", yes)

    def matches(self: "FieldExpression[str] | FieldExpression[str | None]", pattern: str) -> Condition:
        """A regular expression is found in the field. CouchDB has no index for that."""
        return Comparison(self, "$regex", pattern)

    def contains(self: "FieldExpression[list[V]] | FieldExpression[list[V] | None]", value: V) -> Condition:
        """The list has this element."""
        return Comparison(self, "$elemMatch", value)

    def asc(self) -> Ordering:
        """Smallest first."""
        return Ordering(self.path)

    def desc(self) -> Ordering:
        """Largest first."""
        return Ordering(self.path, "desc")

    @overload
    def __getitem__(self: "FieldExpression[list[V]]", key: int) -> "FieldExpression[V]": ...
    @overload
    def __getitem__(self: "FieldExpression[dict[str, V]]", key: str) -> "FieldExpression[V]": ...
    def __getitem__(self, key: int | str) -> "FieldExpression[Any]":
        kind = _plain(self._annotation)
        if _is_model(kind):
            return self._member(str(key))
        arguments = get_args(kind)
        return FieldExpression((*self._names, str(key)), arguments[-1] if arguments else Any)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy and pickle ask for some before there is anything to look at
            raise AttributeError(name)
        return self._member(name)

    def _member(self, name: str) -> "FieldExpression[Any]":
        kind = _plain(self._annotation)
        if not _is_model(kind) or name not in kind.__pydantic_fields__:
            raise AttributeError(f"{self.path!r} has no field {name!r}")
        return field_of(kind, name, self._names)

    def __repr__(self) -> str:
        return f"<field {self.path}>"

    def __bool__(self) -> NoReturn:
        raise QueryError(f"the field {self.path!r} is neither true nor false by itself: compare it, as in == True")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"the field {self.path!r} has no elements on the class: use contains() or in_()")


def field_of(model: type[BaseModel], name: str, prefix: tuple[str, ...] = ()) -> FieldExpression[Any]:
    """The expression for a field of a pydantic model, under the name it is stored by."""
    info = model.__pydantic_fields__[name]
    stored = info.serialization_alias or info.alias or name
    annotation = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    return FieldExpression((*prefix, stored), annotation, (model, name))


@overload
def col(field: FieldExpression[T]) -> FieldExpression[T]: ...
@overload
def col(field: T) -> FieldExpression[T]: ...
def col(field: Any) -> FieldExpression[Any]:
    """The field itself, under the type it has on the class, which no type checker sees without help.

    ``col(Recipe.rating).desc()`` is ``Recipe.rating.desc()``. Raises QueryError for what is no field of a class.
    """
    if not isinstance(field, FieldExpression):
        raise QueryError(f"col() takes a field of a model's class, not {field!r}")
    return field


def checked(condition: object) -> Condition:
    """The condition. Raises QueryError for anything else, such as a comparison of an instance's field."""
    if isinstance(condition, Condition):
        return condition
    said = "a comparison of values, not of a model's fields," if isinstance(condition, bool) else f"{condition!r}"
    raise QueryError(f"{said} is no condition: compare fields of the class, as in Recipe.rating >= 4")


def _plain(annotation: Any) -> Any:
    """The type without its metadata and without ``| None``."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        if len(kinds) == 1:
            return _plain(kinds[0])
    return annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
