"""Conditions on the fields of a model, as values. ``Recipe.rating >= 4`` makes one, and sends nothing.

:mod:`couchmodel._model.query.selector` translates conditions to selectors. It is another module because operands are
encoded by the same codec as stored values.
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
    """A condition that a document meets or does not meet. Combine conditions with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: "Condition | bool") -> "Condition":
        return Group("$and", (self, require_condition(other)))

    def __or__(self, other: "Condition | bool") -> "Condition":
        return Group("$or", (self, require_condition(other)))

    def __invert__(self) -> "Condition":
        return Negation(self)

    def __bool__(self) -> NoReturn:
        raise QueryError("a condition has no truth value: combine conditions with &, | and ~, not with and, or and not")


class Comparison(Condition):
    """A comparison: a field, an operator of Mango, and the operand that the field is compared with."""

    __slots__ = ("field", "operand", "operator")

    def __init__(self, field: "FieldExpression[Any]", operator: str, operand: object) -> None:
        self.field = field
        self.operator = operator
        self.operand = operand

    def __repr__(self) -> str:
        return f"<{self.field.path} {self.operator} {self.operand!r}>"


class Group(Condition):
    """Conditions that must all hold (``$and``), or at least one of which must hold (``$or``)."""

    __slots__ = ("members", "operator")

    def __init__(self, operator: str, members: tuple[Condition, ...]) -> None:
        self.operator = operator
        self.members = members

    def __repr__(self) -> str:
        return f"<{self.operator} {self.members!r}>"


class Negation(Condition):
    """A condition that must not hold. For a missing field, both a comparison and its negation are false in CouchDB."""

    __slots__ = ("member",)

    def __init__(self, member: Condition) -> None:
        self.member = member

    def __repr__(self) -> str:
        return f"<$not {self.member!r}>"


class Ordering(NamedTuple):
    """A field to sort by, and its direction: ``"asc"`` or ``"desc"``."""

    path: str
    direction: str = "asc"


class FieldExpression(Generic[T]):
    """A field of a model as an attribute of the class, such as ``Recipe.author.name``.

    Comparing it makes a condition. A field of an embedded model is an attribute of the expression, or is written with
    brackets if it has the name of a method of this class. Brackets also take the index of a list's element and the key
    of a dictionary's member.
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
        """The path of the field in a stored document, in Mango's notation, with dots inside a name escaped."""
        return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in self._names)

    @property
    def annotation(self) -> Any:
        """The type that the model declares for the field, with its metadata."""
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

    # Comparing makes a condition instead of a bool, so an expression cannot be found in a set or a dictionary.
    __hash__ = None  # type: ignore[assignment]

    def in_(self, values: Iterable[T]) -> Condition:
        """Return the condition that the field is one of these values."""
        return Comparison(self, "$in", list(values))

    def not_in(self, values: Iterable[T]) -> Condition:
        """Return the condition that the field exists and is none of these values."""
        return Comparison(self, "$nin", list(values))

    def exists(self, yes: bool = True) -> Condition:
        """Return the condition that the stored document has the field, with any value, or that it lacks the field."""
        return Comparison(self, "$exists", yes)

    def matches(self: "FieldExpression[str] | FieldExpression[str | None]", pattern: str) -> Condition:
        """Return the condition that a regular expression is found in the field. CouchDB uses no index for that."""
        return Comparison(self, "$regex", pattern)

    def contains(self: "FieldExpression[list[V]] | FieldExpression[list[V] | None]", value: V) -> Condition:
        """Return the condition that the list has this element."""
        return Comparison(self, "$elemMatch", value)

    def asc(self) -> Ordering:
        """Return the ascending order by this field: smallest first."""
        return Ordering(self.path)

    def desc(self) -> Ordering:
        """Return the descending order by this field: largest first."""
        return Ordering(self.path, "desc")

    @overload
    def __getitem__(self: "FieldExpression[list[V]]", key: int) -> "FieldExpression[V]": ...
    @overload
    def __getitem__(self: "FieldExpression[dict[str, V]]", key: str) -> "FieldExpression[V]": ...
    def __getitem__(self, key: int | str) -> "FieldExpression[Any]":
        kind = _bare_type(self._annotation)
        if _is_model(kind):
            return self._member(str(key))
        arguments = get_args(kind)
        return FieldExpression((*self._names, str(key)), arguments[-1] if arguments else Any)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy and pickle look up such names before the slots are set
            raise AttributeError(name)
        return self._member(name)

    def _member(self, name: str) -> "FieldExpression[Any]":
        kind = _bare_type(self._annotation)
        if not _is_model(kind) or name not in kind.__pydantic_fields__:
            raise AttributeError(f"{self.path!r} has no field {name!r}")
        return field_of(kind, name, self._names)

    def __repr__(self) -> str:
        return f"<field {self.path}>"

    def __bool__(self) -> NoReturn:
        raise QueryError(f"the field {self.path!r} has no truth value: compare it, as in == True")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"the field {self.path!r} of the class cannot be iterated over: use contains() or in_()")


def field_of(model: type[BaseModel], name: str, prefix: tuple[str, ...] = ()) -> FieldExpression[Any]:
    """Return the expression for a field of a pydantic model, under the name by which the field is stored."""
    info = model.__pydantic_fields__[name]
    stored = info.serialization_alias or info.alias or name
    annotation = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    return FieldExpression((*prefix, stored), annotation, (model, name))


@overload
def col(field: FieldExpression[T]) -> FieldExpression[T]: ...
@overload
def col(field: T) -> FieldExpression[T]: ...
def col(field: Any) -> FieldExpression[Any]:
    """Return the field itself, typed as a field expression. To a type checker, ``Recipe.rating`` is an ``int``.

    So ``col(Recipe.rating).desc()`` is ``Recipe.rating.desc()``, and a type checker accepts it. Raises QueryError if
    ``field`` is not a field of a model's class.
    """
    if not isinstance(field, FieldExpression):
        raise QueryError(f"col() takes a field of the class, such as Recipe.rating, not {field!r}")
    return field


def require_condition(condition: object) -> Condition:
    """Return the condition. Raises QueryError for anything else, such as a comparison of an instance's field."""
    if isinstance(condition, Condition):
        return condition
    said = "a comparison of values, not of a model's fields," if isinstance(condition, bool) else f"{condition!r}"
    raise QueryError(f"{said} is not a condition: compare a field of the class, as in Recipe.rating >= 4")


def _bare_type(annotation: Any) -> Any:
    """Return the type without its metadata and without ``| None``."""
    if get_origin(annotation) is Annotated:
        return _bare_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        if len(kinds) == 1:
            return _bare_type(kinds[0])
    return annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
