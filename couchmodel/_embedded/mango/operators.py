"""Check the arguments of a Mango selector's operators, and turn each operator into a test.

A *test* is a function of one decoded JSON value and a budget of time, and runs on every document. So everything that
depends on the operand alone is computed once, when the test is made. Values are distinguished by their exact type, as
``json.loads`` makes them: ``True`` is not a number here.

The rules are those of CouchDB's ``mango_selector.erl``.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from types import NoneType
from typing import Any, Final, TypeAlias, TypeGuard

import regex

from couchmodel._embedded import limits
from couchmodel._embedded.budget import TIMEOUT_CODE, Budget
from couchmodel._embedded.mango.patterns import bytewise, compile_pattern, is_pattern
from couchmodel._embedded.rules.collation import raw_compare, raw_key, sort_key
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel.errors import BadRequestError, ResponseError, ServerError

__all__ = ["CONDITIONS", "OPPOSITES", "QUANTIFIERS", "Condition", "Test", "bad_argument", "check_argument"]

Test: TypeAlias = Callable[[Any, Budget], bool]
"""A function that returns True if a decoded JSON value satisfies a condition. What may take long heeds the budget."""

Condition: TypeAlias = Callable[[Any, bool], Test]
"""A function that makes an operator's test. It takes the operand, and True if strings are compared raw, as in ``_id``.

Raw comparison is by bytes. All other fields are compared by CouchDB's collation.
"""

_TIMED_OUT: Final = "regex_timeout"


# Arguments


def check_argument(name: str, argument: object) -> None:
    """Raise BadRequestError if CouchDB does not know the operator, or if the operator does not take the argument."""
    if name in _NOT_SUPPORTED:
        raise BadRequestError(f"Unsupported operator: {name}", code="not_supported")
    accepts = _ARGUMENTS.get(name)
    # With anything else than a string, CouchDB does not recognise these two operators at all.
    if accepts is None or (name in {"$regex", "$beginsWith"} and not _is_string(argument)):
        raise BadRequestError(f"Invalid operator: {name}", code="invalid_operator")
    if not accepts(argument):
        raise bad_argument(name, argument)


def bad_argument(name: str, argument: object) -> BadRequestError:
    """Return the error for an argument that the operator does not take."""
    return BadRequestError(f"Bad argument for operator {name}: {erlang_term(argument)}", code="bad_arg")


def _is_integer(value: object) -> TypeGuard[int]:
    return type(value) is int


def _is_number(value: object) -> TypeGuard[float]:
    return type(value) is int or type(value) is float


def _is_string(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


_NOT_SUPPORTED = frozenset({"$geoIntersects", "$geoWithin", "$near", "$nearSphere", "$where"})

_ARGUMENTS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("$and", "$or", "$nor", "$in", "$nin", "$all"), _is_list),
    **dict.fromkeys(("$not", "$elemMatch", "$allMatch", "$keyMapMatch"), _is_object),
    **dict.fromkeys(("$lt", "$lte", "$eq", "$ne", "$gte", "$gt", "$default"), lambda _: True),
    **dict.fromkeys(("$type", "$beginsWith"), _is_string),
    "$exists": lambda value: isinstance(value, bool),
    "$mod": lambda value: _is_list(value) and len(value) == 2 and all(map(_is_integer, value)),
    "$regex": is_pattern,
    "$size": lambda value: _is_integer(value) and value >= 0,
    "$text": lambda value: isinstance(value, str | int | float),
}


# Conditions


def _equals(operand: object, raw: bool) -> Test:
    return _equals_any([operand], raw)


def _is_in(operands: Sequence[object], raw: bool) -> Test:
    equals_any = _equals_any(operands, raw)
    return lambda value, budget: (
        any(map(equals_any, value, repeat(budget))) if _is_list(value) else equals_any(value, budget)
    )


def _equals_any(operands: Sequence[Any], raw: bool) -> Test:
    key = raw_key if raw else sort_key
    keys: frozenset[bytes] | None = None
    # Sets, since an operand of `$in` may have thousands of values. 1 and 1.0 are equal and have one hash, as they are
    # one value in CouchDB's order.
    numbers = frozenset(filter(_is_number, operands))
    strings = frozenset(filter(_is_string, operands))
    plain = all(map(_is_plain, strings))

    def test(value: Any, _budget: Budget) -> bool:
        nonlocal keys
        kind = type(value)
        if kind is str:
            if value in strings:
                return True
            # Strings that are not identical can still collate as equal, but not if they are plain, and never in raw
            # order.
            if raw or (plain and _is_plain(value)):
                return False
        elif kind is int or kind is float:
            return value in numbers
        if keys is None:  # a key costs ten times as much as the comparisons above, and most values need none
            keys = frozenset(map(key, operands))
        return key(value) in keys

    return test


def _is_plain(text: str) -> bool:
    """Return True if the string is printable ASCII. Two such strings collate as equal only if they are identical."""
    return text.isascii() and text.isprintable()


def _compare_with(accepts: Callable[[Any, Any], bool]) -> Condition:
    def condition(operand: Any, raw: bool) -> Test:
        key = raw_key if raw else sort_key
        operand_key = key(operand)
        numeric = _is_number(operand)
        textual = _is_string(operand)
        any_text = key("")
        # Erlang's order of strings is that of their bytes, which is Python's order of their characters.
        by_characters = raw and textual and operand.isascii()

        def test(value: Any, _budget: Budget) -> bool:
            if by_characters and type(value) is str and value.isascii():
                return accepts(value, operand)
            if numeric and (type(value) is int or type(value) is float):
                return accepts(value, operand)
            if type(value) is str and not textual:
                return accepts(any_text, operand_key)  # the types decide; the key of a long text is expensive
            return accepts(key(value), operand_key)

        return test

    return condition


def _not(condition: Condition) -> Condition:
    def negation(operand: Any, raw: bool) -> Test:
        test = condition(operand, raw)
        return lambda value, budget: not test(value, budget)

    return negation


def _exists(expected: bool, _raw: bool) -> Test:
    return lambda _value, _budget: expected  # a test never runs on a missing field


def _has_all(operands: list[Any], _raw: bool) -> Test:
    # {"$all": [[1, 2]]} also matches the array [1, 2] itself. That comparison takes 1 and 1.0 for equal (Erlang's ==);
    # the comparison of elements does not (lists:member).
    whole = operands[0] if len(operands) == 1 and _is_list(operands[0]) else None

    def test(value: Any, budget: Budget) -> bool:
        if not _is_list(value) or not operands:
            return False
        if all(_is_element(operand, value, budget) for operand in operands):
            return True
        return whole is not None and raw_compare(value, whole) == 0

    return test


def _is_element(operand: Any, values: list[Any], budget: Budget) -> bool:
    return any(any(_is_identical(operand, element) for element in piece) for piece in budget.pieces(values))


def _is_identical(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if _is_list(one):
        return len(one) == len(other) and all(map(_is_identical, one, other))
    if _is_object(one):
        return list(one) == list(other) and all(map(_is_identical, one.values(), other.values()))
    return bool(one == other)


def _has_remainder(operand: list[int], _raw: bool) -> Test:
    divisor, remainder = operand

    def test(value: Any, _budget: Budget) -> bool:
        if not _is_integer(value):
            return False
        if divisor == 0:
            raise ServerError("badarith", code="unknown_error")
        rest = abs(value) % abs(divisor)  # Erlang's rem has the sign of the value; Python's % has that of the divisor
        return (rest if value >= 0 else -rest) == remainder

    return test


_GRAPHEME = regex.compile(r"\X")

_TYPES: Mapping[type, str] = {
    NoneType: "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def _has_type(name: str, _raw: bool) -> Test:
    return lambda value, _budget: _TYPES.get(type(value)) == name


def _has_size(size: int, _raw: bool) -> Test:
    return lambda value, _budget: _is_list(value) and len(value) == size


def _begins_with(prefix: str, _raw: bool) -> Test:
    size = len(prefix)

    def test(value: Any, _budget: Budget) -> bool:
        if not _is_string(value) or not value.startswith(prefix):
            return False
        # "e" is not a prefix of "e" with a combining accent: the prefix must not end inside a grapheme cluster.
        return not prefix or len(value) == size or not _GRAPHEME.fullmatch(value[size - 1 : size + 1])

    return test


def _matches_regex(pattern: str, _raw: bool) -> Test:
    search = compile_pattern(pattern).search

    def test(value: Any, budget: Budget) -> bool:
        if not _is_string(value):
            return False
        budget.check()
        seconds = min(limits.REGEX_SECONDS, max(budget.seconds_left, limits.SHORTEST_REGEX_SECONDS))
        try:
            return search(bytewise(value), timeout=seconds) is not None
        except (TimeoutError, MemoryError):  # MemoryError if a pattern calls itself without end
            if seconds < limits.REGEX_SECONDS:
                budget.give_up()
            reason = f"$regex took longer than {limits.REGEX_SECONDS:g} s on one value: {pattern}"
            raise BadRequestError(reason, code=_TIMED_OUT) from None

    return test


def _matches_anything(_operand: object, _raw: bool) -> Test:
    return lambda _value, _budget: True  # only a text index can decide about $text, and there is none


CONDITIONS: Final[Mapping[str, Condition]] = {
    "$eq": _equals,
    "$ne": _not(_equals),
    "$equalsAny": _equals_any,  # not for users: several alternatives of one field
    "$in": _is_in,
    "$nin": _not(_is_in),
    "$lt": _compare_with(operator.lt),
    "$lte": _compare_with(operator.le),
    "$gte": _compare_with(operator.ge),
    "$gt": _compare_with(operator.gt),
    "$exists": _exists,
    "$all": _has_all,
    "$mod": _has_remainder,
    "$type": _has_type,
    "$size": _has_size,
    "$beginsWith": _begins_with,
    "$regex": _matches_regex,
    "$default": _matches_anything,
}
"""The operators whose operand is a value, not a selector."""

OPPOSITES: Final[Mapping[str, str]] = {
    "$eq": "$ne",
    "$ne": "$eq",
    "$in": "$nin",
    "$nin": "$in",
    "$lt": "$gte",
    "$gte": "$lt",
    "$lte": "$gt",
    "$gt": "$lte",
}
"""Each operator's negation. A pair is exact for values that exist: a missing field satisfies neither."""


# Quantifiers


def _any_element(test: Test) -> Test:
    return lambda value, budget: _is_list(value) and _any(test, value, budget)


def _every_element(test: Test) -> Test:
    def test_every(value: Any, budget: Budget) -> bool:
        # An empty array has no element that could fail, and still does not match, as in CouchDB.
        if not _is_list(value) or not value:
            return False
        return all(all(map(test, piece, repeat(budget))) for piece in budget.pieces(value))

    return test_every


def _any_key(test: Test) -> Test:
    return lambda value, budget: _is_object(value) and _any(test, list(value), budget)


def _any(test: Test, values: list[Any], budget: Budget) -> bool:
    return any(any(map(test, piece, repeat(budget))) for piece in budget.pieces(values))


def _suppress_errors(quantifier: Callable[[Test], Test]) -> Callable[[Test], Test]:
    """Wrap a quantifier so that an error below it means "no match" instead of failing the query, as in CouchDB.

    The exceptions are time limits, which still fail the query.
    """

    def quiet_quantifier(inner: Test) -> Test:
        test = quantifier(inner)

        def quiet_test(value: Any, budget: Budget) -> bool:
            try:
                return test(value, budget)
            except ResponseError as error:
                if error.code in (_TIMED_OUT, TIMEOUT_CODE):
                    raise
                return False

        return quiet_test

    return quiet_quantifier


QUANTIFIERS: Final[Mapping[str, Callable[[Test], Test]]] = {
    "$elemMatch": _suppress_errors(_any_element),
    "$allMatch": _suppress_errors(_every_element),
    "$keyMapMatch": _suppress_errors(_any_key),
}
"""The operators that apply a selector to the elements or keys of a value."""
