"""The meaning of a Mango selector: which documents it matches.

A selector is first rewritten as CouchDB rewrites it, and then compiled into one function, which is run on every
document. Rewritten, it says the same with less: an object has one member, each operand has its operator, a path stands
in one piece right above the operator, and of negations only those are left that no other operator can say.

    {"price": {"$gt": 1, "$not": {"$gt": 9}}}   is   {"$and": [{"price": {"$gt": 1}}, {"price": {"$lte": 9}}]}

Rule 1: what is missing matches nothing, ``$ne`` and ``$nin`` included; only ``{"$exists": false}`` matches it. That is
why it matters where a negation ends up. Below ``$elemMatch`` and its like CouchDB moves no negations, so there
``{"$not": {"a": 1}}`` matches what has no ``a``.

Rule 2: what is wrong with a selector's form is an error when it is compiled; but a path that cannot be read, or a
division by zero, is one only when a document gets that far.
"""

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any, Final

from couchmodel._embedded.json.incremental import dissolve
from couchmodel._embedded.limits.deadlines import check_time
from couchmodel._embedded.mango.operators import (
    CONDITIONS,
    JOINT_CONDITIONS,
    OPPOSITES,
    QUANTIFIERS,
    Test,
    bad_argument,
    check_argument,
)
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel.errors import BadRequestError
from couchmodel.types import JSONObject

__all__ = [
    "BAD_PATH",
    "DEEPEST",
    "MISSING",
    "Absent",
    "Selector",
    "compile_selector",
    "first_name",
    "get_path",
    "parse_path",
]

DEEPEST: Final = 1000
"""Names in a path, and more than any document has objects within each other."""

PIECE: Final = 100
"""Conditions that are tried between two looks at the clock."""


class Selector:
    """A selector, ready to be put to documents."""

    __slots__ = ("_test", "may_take_long", "normalized", "source")

    source: JSONObject
    """The selector as it was asked."""

    normalized: JSONObject
    """The selector as CouchDB rewrites it, and shows it in ``_explain``."""

    may_take_long: bool
    """Whether a single value may take it long, as it may a regular expression."""

    def __init__(self, source: JSONObject, normalized: JSONObject) -> None:
        self.source = source
        self.normalized = normalized
        self.may_take_long = _mentions(normalized, "$regex")
        self._test = _compile(normalized, raw=False) if normalized else _matches_everything

    def __repr__(self) -> str:
        return f"Selector({self.source!r})"

    def matches(self, document: Mapping[str, object]) -> bool:
        """Whether the selector matches a decoded document.

        Raises:
            BadRequestError: where a path of the selector cannot be read, or a ``$regex`` takes too long.
            OverdueError: where there is a time limit, and it is over.
            ServerError: for a division by zero.
        """
        return self._test(document if isinstance(document, dict) else dict(document))

    def dissolve(self) -> None:
        """Free all that it is made of, a little at a time, as other threads wait. It is good for nothing then."""
        self._test = _matches_everything
        dissolve(self.normalized)
        dissolve(self.source)

    @property
    def fields(self) -> frozenset[str]:
        """The paths that the selector says something about, down through ``$and`` and ``$or``."""
        return frozenset(_fields(self.normalized))

    def members(self) -> frozenset[str] | None:
        """The members of a document that it looks into; None where they may be any."""
        names = set(_members(self.normalized))
        return None if None in names else frozenset(name for name in names if name is not None)

    @property
    def is_text_search(self) -> bool:
        """Whether it asks for ``$text``, which no other index can answer."""
        return _is_text_search(self.normalized)

    @property
    def finds_nothing(self) -> bool:
        """Whether ``_find`` answers with no document although every document matches: CouchDB's whim for ``$and: []``.

        Only ``_find`` has it, not ``_changes``, and only where the whole selector comes down to that.
        """
        return self.normalized in ({"$and": []}, {"$or": []})

    def has_required_fields(self, columns: Iterable[str]) -> bool:
        """Whether every document that matches has all of these fields, so that an index on them holds it."""
        return not _not_required(self.normalized, frozenset(columns))


def compile_selector(selector: object) -> Selector:
    """The selector of a request.

    Raises:
        BadRequestError: with CouchDB's code and reason, where the selector makes no sense.
    """
    if not isinstance(selector, dict):
        reason = f"Selector must be a JSON object, not: {erlang_term(selector)}"
        raise BadRequestError(reason, code="invalid_selector_json")
    return Selector(selector, _normalized(selector) if selector else {})


def _fields(selector: JSONObject) -> Iterator[str]:
    for name, argument in selector.items():
        if name.startswith("$") and isinstance(argument, list):
            for part in argument:
                yield from _fields(part)
        else:
            yield name


def _members(selector: JSONObject) -> Iterator[str | None]:
    for name, argument in selector.items():
        if not name.startswith("$"):
            yield first_name(name) or None  # which is the document itself
            continue
        parts = argument if isinstance(argument, list) else [argument]
        if name not in _JUNCTIONS or not all(isinstance(part, dict) for part in parts):
            yield None
            continue
        for part in parts:
            yield from _members(part)


_JUNCTIONS: Final = frozenset(("$and", "$or", "$nor", "$not"))


def _mentions(value: object, name: str) -> bool:
    if isinstance(value, dict):
        return name in value or any(_mentions(part, name) for part in value.values())
    return isinstance(value, list) and any(_mentions(part, name) for part in value)


def _is_text_search(selector: JSONObject) -> bool:
    for name, argument in selector.items():
        if name == "$default":
            return True
        if name.startswith("$"):
            parts = argument if isinstance(argument, list) else [argument]
            return any(isinstance(part, dict) and _is_text_search(part) for part in parts)
    return False


def _not_required(selector: JSONObject, columns: frozenset[str]) -> frozenset[str]:
    """The columns that a document may lack and still match."""
    for name, argument in selector.items():
        if name == "$and":
            for part in argument:
                columns = _not_required(part, columns)
        elif name == "$or":
            columns = frozenset[str]().union(*(_not_required(part, columns) for part in argument))
        elif argument != {"$exists": False}:
            columns -= {name}
    return columns


# Paths


class Absent(enum.Enum):
    """Why there is nothing at the end of a path."""

    MISSING = "missing"
    """An object on the way has no such member."""

    BAD_PATH = "bad_path"
    """The way leads through what is no object, or past the end of an array: not even ``$exists`` is false there."""


MISSING: Final = Absent.MISSING
BAD_PATH: Final = Absent.BAD_PATH


def parse_path(text: str) -> tuple[str, ...]:
    r"""The names on the way to a field: ``a.b`` are two, ``a\.b`` is one.

    Behind the deepest place that a document may have they do not matter.

    Raises:
        BadRequestError: where a name is empty.
    """
    names: list[str] = []
    for name in _names(text):
        if not name:
            raise BadRequestError(f"Invalid field name: {text}", code="invalid_field_name")
        if len(names) <= DEEPEST:
            names.append(name.replace("\\", ""))
    return tuple(names)


def first_name(text: str) -> str:
    """The name that a path begins with."""
    return next(_names(text)).replace("\\", "")


def is_path(text: str) -> bool:
    """Whether the text is a path."""
    return "" not in _names(text)


def _names(text: str) -> Iterator[str]:
    """What stands between the dots, as it is written; one after the other, for a path may have a million of them."""
    start = 0
    for dot in _DOT.finditer(text):
        yield text[start : dot.start()]
        start = dot.end()
    yield text[start:]


def get_path(document: object, path: Iterable[str]) -> object:
    """What a decoded document has at the end of the path, or ``MISSING``, or ``BAD_PATH``."""
    value = document
    for name in path:
        if isinstance(value, dict):
            value = value.get(name, MISSING)
        elif isinstance(value, list):
            value = _element(value, name)
        else:
            return value if value is MISSING else BAD_PATH
    return value


def _element(values: list[object], name: str) -> object:
    if not (number := _INDEX.fullmatch(name)):
        return BAD_PATH
    index = int(number[1])
    return values[index] if index < len(values) else BAD_PATH


_DOT = re.compile(r"(?<!\\)\.")

# As Erlang reads an integer. 18 digits are more than any array has elements, and there is no -1.
_INDEX = re.compile(r"(?:\+?0*|-0*(?=0$))([0-9]{1,18})")


# Normal form


def _normalized(selector: JSONObject) -> JSONObject:
    normalized = _with_inner_negations(_with_whole_paths(_with_explicit_operators(selector)))
    if "" in normalized:
        raise BadRequestError("One or more conditions is missing a field name.", code="invalid_selector")
    return normalized


def _only_member(selector: JSONObject) -> tuple[str, Any]:
    [member] = selector.items()
    return member


def _with_explicit_operators(selector: Any) -> JSONObject:
    if not isinstance(selector, dict) or not selector:
        return {"$eq": selector}
    if len(selector) > 1:
        return {"$and": [_with_explicit_operators({name: argument}) for name, argument in selector.items()]}
    name, argument = _only_member(selector)
    if not name.startswith("$"):
        return {name: _with_explicit_operators(argument)}
    check_argument(name, argument)
    if name in _COMBINATIONS:
        return {name: [_with_explicit_operators(part) for part in argument]}
    if name == "$not" or name in QUANTIFIERS:
        return {name: _with_explicit_operators(argument)}
    return {"$default": selector} if name == "$text" else selector


def _with_whole_paths(selector: JSONObject, path: str = "") -> JSONObject:
    name, argument = _only_member(selector)
    if name in _COMBINATIONS:
        return {name: [_with_whole_paths(part, path) for part in argument]}
    if name == "$not":
        return {name: _with_whole_paths(argument, path)}
    if name in QUANTIFIERS:
        return {path: {name: _with_whole_paths(argument)}}
    if name == "$default":
        return _without_path(selector, path)
    if name.startswith("$"):
        return {path: selector}
    return _with_whole_paths(argument, f"{path}.{name}" if path else name)


def _without_path(selector: JSONObject, path: str) -> JSONObject:
    argument = selector["$default"]
    if path or not isinstance(argument, dict) or list(argument) != ["$text"]:
        reason = f"Invalid field normalization on selector: {erlang_term(selector)}"
        raise BadRequestError(reason, code="bad_field")
    return selector


def _with_inner_negations(selector: JSONObject) -> JSONObject:
    name, argument = _only_member(selector)
    if name == "$not":
        return _negated(argument)
    if name == "$nor":
        return {"$and": [_negated(part) for part in argument]}
    if name in _COMBINATIONS:
        return {name: [_with_inner_negations(part) for part in argument]}
    return selector


def _negated(selector: JSONObject) -> JSONObject:
    name, argument = _only_member(selector)
    if name == "$not":
        return _with_inner_negations(argument)
    if name == "$nor":
        return {"$or": [_with_inner_negations(part) for part in argument]}
    if name in _COMBINATIONS:
        return {"$or" if name == "$and" else "$and": [_negated(part) for part in argument]}
    if name == "$default":
        raise bad_argument("$not", selector)
    if name == "$exists":
        return {"$exists": not argument}
    if name in OPPOSITES:
        return {OPPOSITES[name]: argument}
    return {"$not": selector} if name.startswith("$") else {name: _negated(argument)}


_COMBINATIONS = frozenset({"$and", "$or", "$nor"})


# From the normal form to a function


def _compile(selector: JSONObject, *, raw: bool) -> Test:
    name, argument = _only_member(selector)
    if name in {"$and", "$or"}:
        tests = _compile_parts(argument, "$eq" if name == "$or" else "$ne", raw=raw)
        return _all_of(tests) if name == "$and" or not tests else _any_of(tests)
    if name == "$not":
        test = _compile(argument, raw=raw)
        return lambda value: not test(value)
    if name in QUANTIFIERS:
        return QUANTIFIERS[name](_compile(argument, raw=raw))
    if name in CONDITIONS:
        return CONDITIONS[name](argument, raw)
    if name.startswith("$"):
        return _invalid_operator(name)
    if not name:  # the condition of an element of an array, which has no name
        return _compile(argument, raw=raw)
    return _compile_field(name, argument, raw=raw or name == "_id")


def _compile_parts(parts: Iterable[JSONObject], operator: str, *, raw: bool) -> list[Test]:
    """The tests of some selectors; those that follow each other and only have this operator are one for each field.

    Such a test never fails, so which of them comes first does not matter. Between others it does.
    """
    tests: list[Test] = []
    for joint, run in groupby(parts, partial(_has_only, operator)):
        if joint:
            tests += _compile_jointly(run, operator, raw=raw)
        else:
            tests += [_compile(part, raw=raw) for part in run]
    return tests


def _has_only(operator: str, selector: JSONObject) -> bool:
    name, condition = _only_member(selector)
    return bool(name) and not name.startswith("$") and operator in condition and is_path(name)


def _compile_jointly(parts: Iterable[JSONObject], operator: str, *, raw: bool) -> list[Test]:
    operands: dict[str, list[Any]] = {}
    for name, condition in map(_only_member, parts):
        operands.setdefault(name, []).append(condition[operator])
    return [
        _test_field(parse_path(name), JOINT_CONDITIONS[operator](values, raw or name == "_id"))
        for name, values in operands.items()
    ]


def _all_of(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    if len(tests) > PIECE:
        return _all_of([_all_of(tests[start : start + PIECE]) for start in range(0, len(tests), PIECE)])

    def test_all(value: Any) -> bool:
        check_time()
        for test in tests:  # noqa: SIM110 -- all() over a generator takes half as long again
            if not test(value):
                return False
        return True

    return test_all


def _any_of(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    if len(tests) > PIECE:
        return _any_of([_any_of(tests[start : start + PIECE]) for start in range(0, len(tests), PIECE)])

    def test_any(value: Any) -> bool:
        check_time()
        for test in tests:  # noqa: SIM110 -- likewise
            if test(value):
                return True
        return False

    return test_any


def _invalid_operator(name: str) -> Test:
    """The test of a ``$nor`` that is still there, below ``$elemMatch`` and its like: CouchDB has no meaning for it."""

    def test(_value: Any) -> bool:
        raise BadRequestError(f"Invalid operator: {name}", code="invalid_operator")

    return test


def _compile_field(name: str, condition: JSONObject, *, raw: bool) -> Test:
    try:
        path = parse_path(name)
    except BadRequestError:
        return lambda _: bool(parse_path(name))  # it fails again, in time
    return _test_field(path, _compile(condition, raw=raw), when_missing=condition == {"$exists": False})


def _test_field(path: tuple[str, ...], test: Test, *, when_missing: bool = False) -> Test:
    def test_field(document: Any) -> bool:
        value = get_path(document, path)
        if value is MISSING:
            return when_missing
        return value is not BAD_PATH and test(value)

    return test_field


def _matches_everything(_document: object) -> bool:
    return True
