"""Conditions on the fields of a model, as values. ``Recipe.rating >= 4`` makes one, and sends nothing.

:mod:`couchmodel._model.query.selector` translates conditions to selectors. It is another module because operands are
encoded by the same codec as stored values.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

from couchmodel._model.schema.annotations import bare_type
from couchmodel._model.schema.expressions.places import Place, Placed, place_of
from couchmodel.errors import QueryError

__all__ = [
    "Comparison",
    "Condition",
    "ElementCondition",
    "Group",
    "Negation",
    "SelectorCondition",
    "require_condition",
]


class Condition:
    """A condition that a document meets or does not meet. Combine conditions with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: "Condition") -> "Condition":
        return Group("$and", (self, require_condition(other)))

    def __or__(self, other: "Condition") -> "Condition":
        return Group("$or", (self, require_condition(other)))

    def __invert__(self) -> "Condition":
        return Negation(self)

    # `a and b` asks for the truth of `a`, and would silently leave out one of the two conditions.
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

    def __init__(self, field: Placed, operator: str, condition: Condition) -> None:
        self.place = place_of(field)
        self.operator = operator
        self.condition = condition

    def __repr__(self) -> str:
        return f"<{self.place.path} {self.operator} {self.condition!r}>"


class SelectorCondition(Condition):
    """A condition that the user has written as a selector of Mango. It is sent unchanged."""

    __slots__ = ("selector",)

    def __init__(self, selector: Mapping[str, Any]) -> None:
        self.selector = selector

    def __repr__(self) -> str:
        return f"<{self.selector!r}>"


def require_condition(condition: object) -> Condition:
    """Return the condition. A mapping is taken as a selector of Mango.

    Raises QueryError for anything else, such as a comparison of an instance's field.
    """
    if isinstance(condition, Condition):
        return condition
    if isinstance(condition, Mapping):
        return SelectorCondition(condition)
    if isinstance(condition, Placed) and bare_type(place_of(condition).annotation) is bool:
        raise QueryError(f"the field {place_of(condition).path!r} is no condition by itself: write == True")
    # ``recipe.rating >= 4`` of a document has compared two values, and is True or False.
    said = "a comparison of values, not of a model's fields," if isinstance(condition, bool) else f"{condition!r}"
    raise QueryError(f"{said} is not a condition: compare a field of the class, as in Recipe.rating >= 4")
