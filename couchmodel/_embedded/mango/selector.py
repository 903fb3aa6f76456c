"""Compile a Mango selector into a function that tells whether a document matches.

The selector is first brought into normal form (``normal_form``), and then compiled into one function, which runs on
every document.

Rule: an error in a selector's form is raised when the selector is compiled. A path with an empty name and a division by
zero are raised only when the test of a document comes to them.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from couchmodel._embedded.budget import Budget
from couchmodel._embedded.mango.normal_form import normalize, only_member
from couchmodel._embedded.mango.operators import CONDITIONS, QUANTIFIERS, Test
from couchmodel._embedded.mango.paths import BAD_PATH, MISSING, first_name, get_path, parse_path
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel.errors import BadRequestError
from couchmodel.types import JSONObject

__all__ = ["Selector", "compile_selector"]


class Selector:
    """A compiled selector."""

    __slots__ = ("_test", "may_take_long", "members", "normalized", "source")

    source: JSONObject
    """The selector as the request has it."""

    normalized: JSONObject
    """The selector in CouchDB's normal form, as ``_explain`` shows it."""

    may_take_long: bool
    """True if a single value can take long, because there is a regular expression."""

    members: frozenset[str] | None
    """The top-level members of a document that the selector reads; None if it can read any of them."""

    def __init__(self, source: JSONObject, normalized: JSONObject) -> None:
        self.source = source
        self.normalized = normalized
        self.may_take_long = _mentions(normalized, "$regex")
        names = frozenset(_members(normalized))
        self.members = None if "" in names else names
        self._test = _compile(normalized, raw=False) if normalized else _matches_everything

    def __repr__(self) -> str:
        return f"Selector({self.source!r})"

    def matches(self, document: Mapping[str, object], budget: Budget) -> bool:
        """Return True if the selector matches a decoded document.

        Raises:
            BadRequestError: if a path of the selector has an empty name, or a ``$regex`` takes too long.
            BusyError: if the time is over, in an event loop.
            ServerError: if a ``$mod`` divides by zero, or the time is over.
        """
        return self._test(document if isinstance(document, dict) else dict(document), budget)

    @property
    def fields(self) -> frozenset[str]:
        """The paths that the selector has conditions on, at the top and within ``$and`` and ``$or``."""
        return frozenset(_fields(self.normalized))

    @property
    def is_text_search(self) -> bool:
        """True if the selector has a ``$text``, which only a text index can serve."""
        return _is_text_search(self.normalized)

    @property
    def finds_nothing(self) -> bool:
        """True if ``_find`` returns no document although every document matches: CouchDB's exception for ``$and: []``.

        It holds for ``_find`` only, not for ``_changes``, and only if the whole selector reduces to that.
        """
        return self.normalized in ({"$and": []}, {"$or": []})

    def has_required_fields(self, columns: Iterable[str]) -> bool:
        """Return True if every matching document has all of these fields, so that an index on them holds it."""
        return not _not_required(self.normalized, frozenset(columns))


def compile_selector(selector: object) -> Selector:
    """Compile the selector of a request.

    Raises:
        BadRequestError: if the selector is malformed, with CouchDB's code and reason.
    """
    if not isinstance(selector, dict):
        reason = f"Selector must be a JSON object, not: {erlang_term(selector)}"
        raise BadRequestError(reason, code="invalid_selector_json")
    return Selector(selector, normalize(selector) if selector else {})


def _fields(selector: JSONObject) -> Iterator[str]:
    for name, argument in selector.items():
        if name.startswith("$") and isinstance(argument, list):
            for part in argument:
                yield from _fields(part)
        else:
            yield name


def _members(selector: JSONObject) -> Iterator[str]:
    """Yield the top-level members that a selector reads. An empty name stands for the whole document."""
    for name, argument in selector.items():
        if not name.startswith("$"):
            yield first_name(name)
            continue
        parts = argument if isinstance(argument, list) else [argument]
        if name not in _JUNCTIONS or not all(isinstance(part, dict) for part in parts):
            yield ""
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
    """Return the columns that a matching document can lack."""
    for name, argument in selector.items():
        if name == "$and":
            for part in argument:
                columns = _not_required(part, columns)
        elif name == "$or":
            columns = frozenset[str]().union(*(_not_required(part, columns) for part in argument))
        elif argument != {"$exists": False}:
            columns -= {name}
    return columns


def _compile(selector: JSONObject, *, raw: bool) -> Test:
    name, argument = only_member(selector)
    if name == "$and":
        return _all_of([_compile(part, raw=raw) for part in argument])
    if name == "$or":
        # CouchDB takes an `$or` without alternatives for true.
        return _any_of([*_compile_alternatives(argument, raw=raw)]) if argument else _matches_everything
    if name == "$not":
        test = _compile(argument, raw=raw)
        return lambda value, budget: not test(value, budget)
    if name in QUANTIFIERS:
        return QUANTIFIERS[name](_compile(argument, raw=raw))
    if name in CONDITIONS:
        return CONDITIONS[name](argument, raw)
    if name.startswith("$"):
        return _invalid_operator(name)
    if not name:  # the condition is on an array's element itself, which has no name
        return _compile(argument, raw=raw)
    # Ids are in the order of their bytes, in `_all_docs` and so in a condition on `_id`.
    return _compile_field(name, argument, raw=raw or name == "_id")


def _compile_alternatives(parts: list[JSONObject], *, raw: bool) -> Iterator[Test]:
    """Yield the tests of alternatives. Adjacent values of one field share a test, which looks a value up."""
    for name, run in groupby(parts, _field_with_value):
        alternatives = list(run)
        if name is not None and len(alternatives) > 1:
            alternatives = [{name: {"$equalsAny": [part[name]["$eq"] for part in alternatives]}}]
        yield from (_compile(part, raw=raw) for part in alternatives)


def _field_with_value(selector: JSONObject) -> str | None:
    name, condition = only_member(selector)
    return None if name.startswith("$") or "$eq" not in condition else name


def _all_of(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def test_all(value: Any, budget: Budget) -> bool:
        budget.check()
        for test in tests:  # noqa: SIM110 -- all() over a generator takes half as long again
            if not test(value, budget):
                return False
        return True

    return test_all


def _any_of(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def test_any(value: Any, budget: Budget) -> bool:
        budget.check()
        for test in tests:  # noqa: SIM110 -- likewise
            if test(value, budget):
                return True
        return False

    return test_any


def _invalid_operator(name: str) -> Test:
    """Return the test of a ``$nor`` below ``$elemMatch``, ``$allMatch`` or ``$keyMapMatch``, where CouchDB has none."""

    def test(_value: Any, _budget: Budget) -> bool:
        raise BadRequestError(f"Invalid operator: {name}", code="invalid_operator")

    return test


def _compile_field(name: str, condition: JSONObject, *, raw: bool) -> Test:
    try:
        path = parse_path(name)
    except BadRequestError:
        return lambda _value, _budget: bool(parse_path(name))  # it raises the error again, for a document
    return _test_field(path, _compile(condition, raw=raw), when_missing=condition == {"$exists": False})


def _test_field(path: tuple[str, ...], test: Test, *, when_missing: bool = False) -> Test:
    def test_field(document: Any, budget: Budget) -> bool:
        value = get_path(document, path)
        if value is MISSING:
            return when_missing
        return value is not BAD_PATH and test(value, budget)

    return test_field


def _matches_everything(_document: object, _budget: Budget) -> bool:
    return True
