"""Conditions on the fields of a model, as values. ``Recipe.rating >= 4`` makes one, and sends nothing.

:mod:`couchmodel._model.query.selector` translates conditions to selectors. It is another module because operands are
encoded by the same codec as stored values.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    NamedTuple,
    NoReturn,
    Protocol,
    TypeVar,
    cast,
    get_args,
    overload,
)

from pydantic import BaseModel

from couchmodel._model.schema.annotations import bare_type, element_type, fields_of, stored_name
from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import QueryError

__all__ = [
    "Assignment",
    "Comparison",
    "Condition",
    "ElementCondition",
    "FieldExpression",
    "Group",
    "ListExpression",
    "ModelExpression",
    "Negation",
    "Ordering",
    "Place",
    "SelectorCondition",
    "col",
    "field_of",
    "mango_path",
    "place_of",
    "require_condition",
]

T = TypeVar("T")
V = TypeVar("V")
E = TypeVar("E", bound=BaseModel)

_set = set  # FieldExpression has a method of that name


def mango_path(names: Iterable[str]) -> str:
    """Return the path of names in Mango's notation, with dots and backslashes inside a name escaped."""
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)


class Place(NamedTuple):
    """A place in a stored document: the names that lead to it, its type, and the model and the field that it is of.

    ``root`` is the model of the document. It is None for the id and the revision, which every model has.
    """

    names: tuple[str, ...]
    annotation: Any
    owner: tuple[type, str] | None = None
    root: type | None = None

    @property
    def path(self) -> str:
        """The path in Mango's notation, with dots and backslashes inside a name escaped."""
        return mango_path(self.names)


class Condition:
    """A condition that a document meets or does not meet. Combine conditions with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: "Condition") -> "Condition":
        return Group("$and", (self, require_condition(other)))

    def __or__(self, other: "Condition") -> "Condition":
        return Group("$or", (self, require_condition(other)))

    def __invert__(self) -> "Condition":
        return Negation(self)

    def __bool__(self) -> NoReturn:
        raise QueryError("a condition has no truth value: combine conditions with &, | and ~, not with and, or and not")


class Comparison(Condition):
    """A comparison: a field, an operator of Mango, and the operand that the field is compared with."""

    __slots__ = ("operand", "operator", "place")

    def __init__(self, place: Place, operator: str, operand: object) -> None:
        self.place = place
        self.operator = operator
        self.operand = operand

    def __repr__(self) -> str:
        return f"<{self.place.path} {self.operator} {self.operand!r}>"


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


class ElementCondition(Condition):
    """A condition on the elements of a list: that one of them meets it (``$elemMatch``), or all (``$allMatch``)."""

    __slots__ = ("condition", "operator", "place")

    def __init__(self, field: "FieldExpression[Any]", operator: str, condition: Condition) -> None:
        self.place = place_of(field)
        self.operator = operator
        self.condition = condition

    def __repr__(self) -> str:
        return f"<{self.place.path} {self.operator} {self.condition!r}>"


class SelectorCondition(Condition):
    """A condition that is written as a selector of Mango, and sent as it is."""

    __slots__ = ("selector",)

    def __init__(self, selector: Mapping[str, Any]) -> None:
        self.selector = selector

    def __repr__(self) -> str:
        return f"<{self.selector!r}>"


class Assignment(NamedTuple):
    """A value for a field of a model: ``Recipe.rating.set(4)``."""

    place: Place
    value: Any


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

    __slots__ = ("_place",)

    def __init__(
        self,
        names: tuple[str, ...],
        annotation: Any,
        owner: tuple[type, str] | None = None,
        root: type | None = None,
    ) -> None:
        self._place = Place(names, annotation, owner, root)

    if TYPE_CHECKING:

        def __field_type__(self) -> T:
            """Tell type checkers of which type the field is."""
            ...

    @property
    def path(self) -> str:
        """The path of the field in a stored document, in Mango's notation, with dots inside a name escaped."""
        return self._place.path

    def __eq__(self, other: T) -> Condition:  # type: ignore[override]
        return Comparison(self._place, "$eq", other)

    def __ne__(self, other: T) -> Condition:  # type: ignore[override]
        return Comparison(self._place, "$ne", other)

    def __lt__(self, other: T) -> Condition:
        return Comparison(self._place, "$lt", other)

    def __le__(self, other: T) -> Condition:
        return Comparison(self._place, "$lte", other)

    def __gt__(self, other: T) -> Condition:
        return Comparison(self._place, "$gt", other)

    def __ge__(self, other: T) -> Condition:
        return Comparison(self._place, "$gte", other)

    # Comparing makes a condition instead of a bool, so an expression cannot be found in a set or a dictionary.
    __hash__ = None  # type: ignore[assignment]

    def in_(self, values: Iterable[T]) -> Condition:
        """Return the condition that the field is one of these values."""
        return Comparison(self._place, "$in", _operands(self, values))

    def not_in(self, values: Iterable[T]) -> Condition:
        """Return the condition that the field exists and is none of these values."""
        return Comparison(self._place, "$nin", _operands(self, values))

    def between(self, low: T, high: T) -> Condition:
        """Return the condition that the field is at least ``low`` and at most ``high``."""
        return Group("$and", (self >= low, self <= high))

    def exists(self, yes: bool = True) -> Condition:
        """Return the condition that the stored document has the field, with any value, or that it lacks the field."""
        return Comparison(self._place, "$exists", yes)

    def is_none(self) -> Condition:
        """Return the condition that the field is None, or that the stored document lacks it."""
        return Comparison(self._place, "$eq", None)

    def matches(self: "Text", pattern: str, *, ignore_case: bool = False) -> Condition:
        """Return the condition that a regular expression is found in the text. CouchDB uses no index for that.

        Raises QueryError if the expression is broken.
        """
        _check_pattern(pattern)
        return Comparison(place_of(_expression(self)), "$regex", f"(?i){pattern}" if ignore_case else pattern)

    def startswith(self: "Text", prefix: str) -> Condition:
        """Return the condition that the text begins with ``prefix``."""
        return Comparison(place_of(_expression(self)), "$beginsWith", prefix)

    @overload
    def contains(self: "Text", value: str) -> Condition: ...
    @overload
    def contains(self: "FieldExpression[list[V]]", value: V) -> Condition: ...
    @overload
    def contains(self: "FieldExpression[list[V] | None]", value: V) -> Condition: ...
    @overload
    def contains(self: "FieldExpression[_set[V]]", value: V) -> Condition: ...
    @overload
    def contains(self: "FieldExpression[_set[V] | None]", value: V) -> Condition: ...
    @overload
    def contains(self: "FieldExpression[frozenset[V]]", value: V) -> Condition: ...
    @overload
    def contains(self: "FieldExpression[frozenset[V] | None]", value: V) -> Condition: ...
    @overload
    def contains(self: "FieldExpression[tuple[V, ...]]", value: V) -> Condition: ...
    @overload
    def contains(self: "FieldExpression[tuple[V, ...] | None]", value: V) -> Condition: ...
    def contains(self: Any, value: Any) -> Condition:
        """Return the condition that the list or set has this element, or that the text has this part."""
        if element_type(self._place.annotation) is not None:
            return Comparison(self._place, "$elemMatch", value)
        if not isinstance(value, str):
            raise QueryError(f"{self._place.path!r} contains text, and {value!r} is none")
        return Comparison(self._place, "$regex", re.escape(value))

    @overload
    def contains_all(self: "FieldExpression[list[V]]", values: Iterable[V]) -> Condition: ...
    @overload
    def contains_all(self: "FieldExpression[_set[V]]", values: Iterable[V]) -> Condition: ...
    @overload
    def contains_all(self: "FieldExpression[frozenset[V]]", values: Iterable[V]) -> Condition: ...
    @overload
    def contains_all(self: "FieldExpression[tuple[V, ...]]", values: Iterable[V]) -> Condition: ...
    def contains_all(self: "FieldExpression[Any]", values: Iterable[Any]) -> Condition:
        """Return the condition that the list or set has all these elements."""
        return Comparison(self._place, "$all", _operands(self, values))

    def contains_any(self: "FieldExpression[Any]", values: Iterable[Any]) -> Condition:
        """Return the condition that the list or set has at least one of these elements."""
        return Comparison(self._place, "$anyOf", _operands(self, values))

    def size(self: "FieldExpression[Any]") -> "FieldExpression[int]":
        """Return the number of elements of the list. It can be compared with ``==`` only."""
        return SizeExpression(self._place.names, int, root=self._place.root)

    def has_key(self: "FieldExpression[dict[str, V]]", key: str) -> Condition:
        """Return the condition that the dictionary has this key."""
        return self[key].exists()

    def set(self, value: T) -> Assignment:
        """Return the assignment of a value to the field, for ``update`` of a query."""
        return Assignment(self._place, value)

    def asc(self) -> Ordering:
        """Return the ascending order by this field: smallest first."""
        return Ordering(self._place.path)

    def desc(self) -> Ordering:
        """Return the descending order by this field: largest first."""
        return Ordering(self._place.path, "desc")

    @overload
    def __getitem__(self: "FieldExpression[list[V]]", key: int) -> "FieldExpression[V]": ...
    @overload
    def __getitem__(self: "FieldExpression[dict[str, V]]", key: str) -> "FieldExpression[V]": ...
    def __getitem__(self, key: int | str) -> "FieldExpression[Any]":
        kind = bare_type(self._place.annotation)
        if fields_of(kind) is not None:
            return self._member(str(key))
        element = element_type(kind, key if isinstance(key, int) else None)
        arguments = get_args(kind)
        inner = element if element is not None else arguments[-1] if arguments else Any
        if element is None and arguments and not isinstance(key, str) and self._place.root is not None:
            root: Any = self._place.root
            key = root.__write_key__(arguments[0], key)
        return expression((*self._place.names, str(key)), inner, root=self._place.root)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy and pickle look up such names before the slots are set
            raise AttributeError(name)
        return self._member(name)

    def _member(self, name: str) -> "FieldExpression[Any]":
        kind = bare_type(self._place.annotation)
        fields = fields_of(kind)
        if fields is None or name not in fields:
            raise AttributeError(f"{self._place.path!r} has no field {name!r}{nearest(name, fields or ())}")
        return field_of(kind, name, self._place.names, self._place.root)

    def __repr__(self) -> str:
        return f"<field {self._place.path}>"

    def __bool__(self) -> NoReturn:
        raise QueryError(f"the field {self._place.path!r} has no truth value: compare it, as in == True")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"the field {self._place.path!r} of the class cannot be iterated over: use contains() or in_()")


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str):
        raise QueryError(f"a regular expression is a text, and {pattern!r} is none")
    import regex  # noqa: PLC0415 - few programs need it, and its import takes longer than that of this package

    try:
        regex.compile(pattern)
    except regex.error as error:  # its text says where
        raise QueryError(f"the regular expression {pattern!r} is broken: {error}") from None


class Text(Protocol):
    """A field of text, as type checkers see it: of ``str``, of an enumeration or literals of it, or None."""

    def __field_type__(self) -> str | None: ...


def _expression(field: Any) -> FieldExpression[Any]:
    return cast("FieldExpression[Any]", field)


class SizeExpression(FieldExpression[int]):
    """The number of elements of a list."""

    __slots__ = ()

    def __eq__(self, other: int) -> Condition:  # type: ignore[override]
        return Comparison(self._place, "$size", other)

    def _refuse(self, other: object) -> NoReturn:
        raise QueryError(
            f"the size of {self._place.path!r} can be compared with == only: CouchDB has no other operator for it"
        )

    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = in_ = not_in = between = _refuse  # type: ignore[assignment]
    __hash__ = None


class ListExpression(FieldExpression[list[E]], Generic[E]):
    """A list of embedded models as an attribute of the class."""

    __slots__ = ()

    def any(self, condition: Callable[[type[E]], Condition]) -> Condition:
        """Return the condition that at least one element meets ``condition``, a function of the element's class."""
        return ElementCondition(self, "$elemMatch", condition(_element(self)))

    def all(self, condition: Callable[[type[E]], Condition]) -> Condition:
        """Return the condition that each element meets ``condition``, a function of the element's class."""
        return ElementCondition(self, "$allMatch", condition(_element(self)))

    if TYPE_CHECKING:

        def __getitem__(self, key: int) -> type[E]: ...  # type: ignore[override]


class ModelExpression(FieldExpression[E], Generic[E]):
    """An embedded model as an attribute of the class. Its fields come before the methods of an expression."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            fields = fields_of(bare_type(place_of(self).annotation))
            if fields is not None and name in fields:
                return self._member(name)
        return super().__getattribute__(name)


def place_of(field: FieldExpression[Any]) -> Place:
    """Return the place of a field in a stored document."""
    return field._place  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a field of an embedded model may hide any public name


def _element(field: FieldExpression[Any]) -> Any:
    """Return the expression of an element. Its path begins at the element, as in Mango's ``$elemMatch``."""
    place = place_of(field)
    return expression((), element_type(place.annotation), root=place.root)


def expression(
    names: tuple[str, ...], annotation: Any, owner: "tuple[type, str] | None" = None, root: type | None = None
) -> FieldExpression[Any]:
    """Return the expression for a place in a stored document."""
    if element_type(annotation) is not None:
        return ListExpression(names, annotation, owner, root)
    if fields_of(bare_type(annotation)) is not None:
        return ModelExpression(names, annotation, owner, root)
    return FieldExpression(names, annotation, owner, root)


def field_of(model: type, name: str, prefix: tuple[str, ...] = (), root: type | None = None) -> FieldExpression[Any]:
    """Return the expression for a field of a pydantic model, under the name by which the field is stored.

    ``prefix`` leads to an embedded model in a document of the model ``root``.
    """
    info = (fields_of(model) or {})[name]
    annotation = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    owner = (model, name) if isinstance(model, type) and issubclass(model, BaseModel) else None
    return expression((*prefix, stored_name(name, info)), annotation, owner, root)


def _operands(field: FieldExpression[Any], values: Iterable[Any]) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise QueryError(
            f"{place_of(field).path!r} is compared with several values, as in [1, 2], and {values!r} is none"
        )
    return list(values)


@overload
def col(field: FieldExpression[E | None]) -> type[E]: ...  # type: ignore[overload-overlap]
@overload
def col(field: type[E] | type[None]) -> type[E]: ...  # type: ignore[overload-overlap]  # what mypy makes of an optional embedded model
@overload
def col(field: FieldExpression[T]) -> FieldExpression[T]: ...
@overload
def col(field: T) -> FieldExpression[T]: ...
def col(field: Any) -> Any:
    """Return the field itself, typed as a field expression. To a type checker, ``Recipe.rating`` is an ``int``.

    So ``col(Recipe.rating).desc()`` is ``Recipe.rating.desc()``, and a type checker accepts it. Raises QueryError if
    ``field`` is not a field of a model's class.
    """
    if not isinstance(field, FieldExpression):
        raise QueryError(f"col() takes a field of the class, such as Recipe.rating, not {field!r}")
    return field


def require_condition(condition: object) -> Condition:
    """Return the condition. A mapping is taken as a selector of Mango.

    Raises QueryError for anything else, such as a comparison of an instance's field.
    """
    if isinstance(condition, Condition):
        return condition
    if isinstance(condition, Mapping):
        return SelectorCondition(condition)
    if isinstance(condition, FieldExpression) and bare_type(place_of(condition).annotation) is bool:
        raise QueryError(f"the field {place_of(condition).path!r} is no condition by itself: write == True")
    said = "a comparison of values, not of a model's fields," if isinstance(condition, bool) else f"{condition!r}"
    raise QueryError(f"{said} is not a condition: compare a field of the class, as in Recipe.rating >= 4")
