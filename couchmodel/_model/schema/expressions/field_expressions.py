"""Fields of a model as attributes of its class, such as ``Recipe.author.name``. Comparing one makes a condition."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, NoReturn, Protocol, TypeVar, cast, get_args, overload

from pydantic import BaseModel

from couchmodel._model.schema.annotations import bare_type, element_type, fields_of, stored_name
from couchmodel._model.schema.expressions.conditions import Comparison, Condition, ElementCondition, Group
from couchmodel._model.schema.expressions.places import Assignment, Ordering, Place, Placed, place_of
from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import QueryError

__all__ = ["FieldExpression", "ListExpression", "ModelExpression", "col", "field_of"]

T = TypeVar("T")
V = TypeVar("V")
E = TypeVar("E", bound=BaseModel)

_set = set  # FieldExpression has a method of that name


class FieldExpression(Placed, Generic[T]):
    """A field of a model as an attribute of the class, such as ``Recipe.author.name``.

    Comparing it makes a condition. A field of an embedded model is an attribute of the expression, or is written with
    brackets if it has the name of a method of this class. Brackets also take the index of a list's element and the key
    of a dictionary's member.
    """

    __slots__ = ()

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
        # $regex has no options, so the flag is in the pattern.
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
        # Mango has no operator for a part of a text.
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
        # $anyOf is no operator of Mango. The selector is made of others.
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
            # Keys of other types than texts are written as they are stored, which the model knows.
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
        # The embedded store searches with ``regex`` as well, which knows more of the syntax of CouchDB's PCRE than
        # ``re``.
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

    # ``$size`` takes a number, and no condition for it.
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
    """An embedded model as an attribute of the class. A field hides a method of expressions that has its name."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        # Python calls this for every attribute. Names with an underscore go on at once, because ``place_of`` reads
        # ``_place``.
        if not name.startswith("_"):
            fields = fields_of(bare_type(place_of(self).annotation))
            if fields is not None and name in fields:
                return self._member(name)
        return super().__getattribute__(name)


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
