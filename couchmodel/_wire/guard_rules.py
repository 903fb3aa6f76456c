"""The rules of a guard, and their checks of JSON values.

A rule says what a value ``is``: ``anything``, ``null``, ``boolean``, ``number``, ``text``, ``choice``, ``list``,
``tuple``, ``map``, ``object``, ``nullable``, ``union``, ``tagged``, or ``rule``, a reference to a rule by its name.
``_model/guard/javascript.py`` has the same checks in JavaScript. The two give the same answers, so numbers are compared
here as JavaScript compares them: in 64 bits.
"""

import math
import re
from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from couchmodel._wire.pattern_time import LONGEST, SlowPatternError, has_linear_time
from couchmodel.types import JSONObject

__all__ = ["LARGEST_EXACT", "Breach", "Check", "NamedChecks", "TooComplexError", "compile_rule", "is_number"]

_MOST_ATTEMPTS: Final = 1_000_000
"""The most choices of unions that are tried for a document. Nested unions try each other's choices again and again."""

LARGEST_EXACT: Final = 2**53
"""The number from which on JavaScript rounds whole numbers."""

Breach: TypeAlias = list[str]
"""What is wrong with a value: a reason, and behind it the names and positions that lead to it, from the inside out."""

Check: TypeAlias = Callable[[Any], Breach | None]


class TooComplexError(Exception):
    """A document takes too many attempts to be checked."""


class NamedChecks(dict[str, Check]):
    """The checks of named rules, by name.

    ``attempts`` is how many choices of unions may still be tried for the document that is being checked.
    """

    attempts = 0

    def begin(self) -> None:
        """Begin with a new document."""
        self.attempts = _MOST_ATTEMPTS

    def try_once(self) -> None:
        """Note an attempt. Raises TooComplexError if none is left."""
        self.attempts -= 1
        if self.attempts < 0:
            raise TooComplexError


def compile_rule(rule: JSONObject, named: NamedChecks) -> Check:
    """Return the check of a rule. ``named`` has the checks of all names by the time that a document is checked."""
    return _RULES[rule["is"]](rule, named)


def _optional(rule: JSONObject | None, named: NamedChecks) -> Check | None:
    return None if rule is None or rule["is"] == "anything" else compile_rule(rule, named)


def _anything(rule: JSONObject, named: NamedChecks) -> Check:
    return lambda _: None


def _null(rule: JSONObject, named: NamedChecks) -> Check:
    return lambda value: None if value is None else ["has to be null"]


def _boolean(rule: JSONObject, named: NamedChecks) -> Check:
    # By identity: 1 equals True in Python, and not in JavaScript.
    return lambda value: None if value is True or value is False else ["has to be true or false"]


# --- numbers and texts


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _to_double(number: float) -> float:
    """Return a number as JavaScript has it, which has no whole numbers beyond 64 bits."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _number(rule: JSONObject, named: NamedChecks) -> Check:
    whole, bounds = rule.get("whole", False), _bounds(rule)

    def check(value: Any) -> Breach | None:
        if not is_number(value):
            return ["has to be a whole number" if whole else "has to be a number"]
        double = _to_double(value)
        if whole and not (math.isinf(double) or double.is_integer()):
            return ["has to be a whole number"]
        return bounds(double) if bounds else None

    return check


def _bounds(rule: JSONObject) -> Check | None:
    found = [_bound(*each) for each in rule.get("bounds", ())]
    if not found:
        return None

    def check(value: Any) -> Breach | None:
        for is_kept, breach in found:
            if not is_kept(value):
                return list(breach)
        return None

    return check


def _bound(kind: str, bound: Any, said: str) -> tuple[Callable[[Any], bool], Breach]:
    breach = [f"has to be {said}"]
    match kind:
        case "ge":
            return (lambda value: value >= bound), breach
        case "gt":
            return (lambda value: value > bound), breach
        case "le":
            return (lambda value: value <= bound), breach
        case "lt":
            return (lambda value: value < bound), breach
        case "multiple":
            # From there on, JavaScript has lost the digits that would decide. `fmod` has the sign of JavaScript's `%`.
            return (lambda value: abs(value) >= LARGEST_EXACT or math.fmod(value, bound) == 0), breach
        case "about_multiple":
            return (lambda value: math.isinf(value) or _is_about_multiple(value, bound)), breach
        case _:
            raise ValueError(kind)


def _is_about_multiple(value: float, factor: float) -> bool:
    rest, tolerance = abs(math.fmod(value, factor)), abs(value) / 1e9  # the tolerance is pydantic's
    return rest <= tolerance or abs(rest - factor) <= tolerance


def _text(rule: JSONObject, named: NamedChecks) -> Check:
    said = rule.get("said", "has to be a text")
    shortest, longest = rule.get("min_length", 0), rule.get("max_length", math.inf)
    breaks_pattern = _pattern(rule["pattern"]) if "pattern" in rule else None
    is_date = rule.get("calendar", False)
    bounds = [(len(bound), *_bound(kind, bound, phrase)) for kind, bound, phrase in rule.get("bounds", ())]

    def check(value: Any) -> Breach | None:
        if not isinstance(value, str):
            return [said]
        # Python counts characters as the JavaScript does after it has replaced the surrogate pairs.
        if len(value) < shortest:
            return [f"has to be {shortest} or more characters long"]
        if len(value) > longest:
            return [f"has to be {longest} or fewer characters long"]
        if breaks_pattern is not None and breaks_pattern(value):
            return [rule["pattern"].get("said", said)]
        if is_date and int(value[8:10]) > monthrange(int(value[:4]), int(value[5:7]))[1]:
            return [said]
        for length, is_kept, breach in bounds:
            if len(value) == length and not is_kept(value):  # a datetime without a zone has no place among instants
                return list(breach)
        return None

    return check


def _pattern(pattern: JSONObject) -> Callable[[str], bool]:
    """Return whether a text breaks a pattern, which is a regular expression that Python and JavaScript read alike.

    ``printable`` patterns are about printable ASCII only, and other texts are left alone. ``longest`` is the length of
    the texts that a slow pattern is asked about.
    """
    search = re.compile(pattern["source"], re.ASCII).search
    if not has_linear_time(pattern["source"]) and not pattern.get("longest", math.inf) <= LONGEST:
        raise SlowPatternError("it is slow, and is to be compared with long texts")
    printable, longest = pattern.get("printable", False), pattern.get("longest", math.inf)

    def breaks(value: str) -> bool:
        if len(value) > longest or (printable and _UNPRINTABLE(value)):
            return False
        return search(value) is None

    return breaks


_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]").search


def _choice(rule: JSONObject, named: NamedChecks) -> Check:
    # Python takes 1, 1.0 and True for equal, and JavaScript only the first two.
    values = {_key(value) for value in rule["values"]}
    breach = [f"has to be {rule['said']}"]
    return lambda value: None if not isinstance(value, (dict, list)) and _key(value) in values else list(breach)


def _key(value: Any) -> tuple[str, Any]:
    """Return a value that is the same for two scalars only if JavaScript takes them for the same."""
    return ("number", _to_double(value)) if is_number(value) else (type(value).__name__, value)


# --- arrays and objects


def _list(rule: JSONObject, named: NamedChecks) -> Check:
    items = _optional(rule.get("items"), named)
    outside = _size(rule, "elements")

    def check(value: Any) -> Breach | None:
        if not isinstance(value, list):
            return ["has to be a list"]
        return outside(value) or _first_breach(items, value)

    return check


def _size(rule: JSONObject, things: str) -> Check:
    shortest, longest = rule.get("min_length", 0), rule.get("max_length", math.inf)

    def check(value: Any) -> Breach | None:
        if len(value) < shortest:
            return [f"has to have {shortest} or more {things}"]
        if len(value) > longest:
            return [f"has to have {longest} or fewer {things}"]
        return None

    return check


def _first_breach(check: Check | None, values: Sequence[Any], start: int = 0) -> Breach | None:
    if check is not None:
        for n, value in enumerate(values, start):
            breach = check(value)
            if breach is not None:
                # A path is built from the inside out and turned around at the end, because appending costs less.
                breach.append(str(n))
                return breach
    return None


def _tuple(rule: JSONObject, named: NamedChecks) -> Check:
    before, after = ([compile_rule(each, named) for each in rule[part]] for part in ("before", "after"))
    items = _optional(rule.get("items"), named)
    count, is_open = len(before) + len(after), "items" in rule
    outside = _size(rule, "elements")

    def check(value: Any) -> Breach | None:
        if not isinstance(value, list):
            return ["has to be a list"]
        if len(value) < count or (not is_open and len(value) > count):
            return [f"has to have {count}{' or more' if is_open else ''} elements"]
        end = len(value) - len(after)
        for n, one in [*enumerate(before), *enumerate(after, end)]:
            breach = one(value[n])
            if breach is not None:
                breach.append(str(n))
                return breach
        return outside(value) or _first_breach(items, value[len(before) : end], len(before))

    return check


def _map(rule: JSONObject, named: NamedChecks) -> Check:
    keys, values = _optional(rule.get("keys"), named), _optional(rule.get("values"), named)
    outside = _size(rule, "members")

    def check(value: Any) -> Breach | None:
        if not isinstance(value, dict):
            return ["has to be an object"]
        breach = outside(value)
        if breach is not None:
            return breach
        for name, member in value.items():
            breach = keys(name) if keys else None
            if breach is not None:
                return [f"as a name, it {breach[0]}", name]
            breach = values(member) if values else None
            if breach is not None:
                breach.append(name)
                return breach
        return None

    return check


def _object(rule: JSONObject, named: NamedChecks) -> Check:
    members = [
        (each["name"], each.get("required", False), each.get("or", ()), _optional(each.get("rule"), named))
        for each in rule["members"]
    ]

    def check(value: Any) -> Breach | None:
        if not isinstance(value, dict):
            return ["has to be an object"]
        for name, required, others, inner in members:
            if name in value:
                breach = inner(value[name]) if inner is not None else None
                if breach is not None:
                    breach.append(name)
                    return breach
            elif required and not any(other in value for other in others):
                return ["is required", name]
        return None

    return check


# --- one of several rules


def _nullable(rule: JSONObject, named: NamedChecks) -> Check:
    inner = compile_rule(rule["rule"], named)
    return lambda value: None if value is None else inner(value)


def _union(rule: JSONObject, named: NamedChecks) -> Check:
    choices = [compile_rule(each, named) for each in rule["choices"]]

    def check(value: Any) -> Breach | None:
        for choice in choices:
            named.try_once()
            if choice(value) is None:
                return None
        return ["fits none of its types"]

    return check


def _tagged(rule: JSONObject, named: NamedChecks) -> Check:
    by, said = rule["by"], rule["said"]
    choices = {name: compile_rule(each, named) for name, each in rule["choices"].items()}

    def check(value: Any) -> Breach | None:
        if not isinstance(value, dict):
            return ["has to be an object"]
        if by not in value:
            return ["is required", by]
        # Another type could not be looked up, such as a list, or would be found by another type's equal.
        choice = choices.get(value[by]) if isinstance(value[by], str) else None
        return [f"has to be {said}", by] if choice is None else choice(value)

    return check


def _reference(rule: JSONObject, named: NamedChecks) -> Check:
    name = rule["name"]
    return lambda value: named[name](value)  # noqa: PLW0108 - a rule may refer to one that is compiled later


_RULES: Final[Mapping[str, Callable[[JSONObject, NamedChecks], Check]]] = {
    "anything": _anything,
    "null": _null,
    "boolean": _boolean,
    "number": _number,
    "text": _text,
    "choice": _choice,
    "list": _list,
    "tuple": _tuple,
    "map": _map,
    "object": _object,
    "nullable": _nullable,
    "union": _union,
    "tagged": _tagged,
    "rule": _reference,
}
