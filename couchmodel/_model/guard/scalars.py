"""The rules of numbers, texts and other values without members, from their core schemas.

Dates, datetimes, durations, bytes, decimals and ids are stored as the codec writes them.
"""

import enum
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from couchmodel._model.codec.rules import write_datetime
from couchmodel._model.guard.patterns import UnportableError, portable_pattern
from couchmodel._wire.guard_rules import LARGEST_EXACT
from couchmodel._wire.pattern_time import LONGEST
from couchmodel.types import JSONObject

__all__ = ["READERS", "Found", "one_of"]

_MOST_SAID: Final = 10
"""The most choices that a reason lists."""

# Python has no year 0. `[0-9]` and not `\d`, which has the digits of other scripts in Python.
_DAY: Final = r"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_END: Final = r"(?![\s\S])"
_PLAIN_DECIMAL: Final = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_SORTED_DECIMAL: Final = r"o|[np][0-9]{6}:[0-9]+(?:\.[0-9]+)?z?"

_SAID: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


class Found(NamedTuple):
    """A rule for a type, and the constraints of the type that the rule cannot express."""

    rule: JSONObject
    missing: tuple[str, ...] = ()


def one_of(values: list[Any]) -> str:
    """Return the words for a choice among values, of which a long list is cut."""
    said = [json.dumps(value, ensure_ascii=False) for value in values[:_MOST_SAID]]
    if len(values) > _MOST_SAID:
        return f"one of {', '.join(said)} and {len(values) - _MOST_SAID} others"
    return " or ".join(filter(None, [", ".join(said[:-1]), said[-1]]))


# --- numbers


def _int(schema: Any) -> Found:
    missing = []
    bounds = []
    for kind, words in _SAID.items():
        bound = schema.get(kind)
        if bound is None:
            continue
        if abs(bound) >= LARGEST_EXACT:
            missing.append(f"{kind} is guarded with the precision of JavaScript, of 53 bits")
        bounds.append([*_round_bound(kind, bound), f"{words} {bound}"])
    factor = schema.get("multiple_of")
    if factor is not None and abs(factor) <= LARGEST_EXACT:
        bounds.append(["multiple", factor, f"a multiple of {factor}"])
        missing.append(f"multiple_of is not guarded for numbers from {LARGEST_EXACT} on")
    elif factor is not None:
        missing.append("multiple_of is not guarded")
    return Found({"is": "number", "whole": True, **_bounds(bounds)}, tuple(missing))


def _float(schema: Any) -> Found:
    bounds = [
        [kind, _plain(schema[kind]), f"{words} {schema[kind]}"]
        for kind, words in _SAID.items()
        if schema.get(kind) is not None
    ]
    if schema.get("multiple_of") is not None:
        bounds.append(["about_multiple", _plain(schema["multiple_of"]), f"a multiple of {schema['multiple_of']}"])
    return Found({"is": "number", **_bounds(bounds)})


def _decimal(schema: Any) -> Found:
    missing = [f"{key} is not guarded" for key in ("multiple_of", "max_digits") if schema.get(key) is not None]
    if schema.get("decimal_places") is None:
        missing += [
            f"{kind} is not guarded, since decimals are stored as text"
            for kind in _SAID
            if schema.get(kind) is not None
        ]
        source = f"^(?:{_SORTED_DECIMAL}|{_PLAIN_DECIMAL}){_END}"
        text = {"is": "text", "said": "has to be a decimal", "pattern": {"source": source, "longest": LONGEST}}
        missing.append(f"a text of more than {LONGEST} characters passes")
        return Found({"is": "union", "choices": [text, {"is": "number"}]}, tuple(missing))
    # Decimals with fixed places are stored as numbers, and doubles have no places.
    missing.append("decimal_places is not guarded")
    bounds = []
    for kind, words in _SAID.items():
        bound = schema.get(kind)
        if bound is None:
            continue
        double = float(bound)
        # Where no double equals the bound, a value beside it may be stored as the double nearest to both. So equal
        # passes.
        is_exact = Decimal(repr(double)) == Decimal(bound)
        strict = kind in ("gt", "lt") and is_exact
        bounds.append([kind if strict else kind[0] + "e", _plain(double), f"{words} {bound}"])
    return Found({"is": "number", **_bounds(bounds)}, tuple(missing))


def _duration(schema: Any) -> Found:
    missing = [f"{kind} is not guarded for a duration" for kind in _SAID if schema.get(kind) is not None]
    longest = 86_400 * 10**9  # the seconds of Python's longest duration
    bounds = [["ge", -longest, f"at least {-longest}"], ["le", longest, f"at most {longest}"]]
    return Found({"is": "number", "bounds": bounds}, tuple(missing))


def _round_bound(kind: str, bound: Any) -> tuple[str, Any]:
    """Return a bound as JavaScript has it. Beyond 53 bits, a number may be rounded to the bound itself."""
    if abs(bound) < LARGEST_EXACT:
        return kind, _plain(bound)
    try:
        return kind[0] + "e", _plain(float(bound))
    except OverflowError:
        # The bound is beyond the doubles, so every number of JSON is on one side of it.
        return kind[0] + "e", 1e308 if (kind[0] == "g") == (bound < 0) else -1e308


def _plain(number: Any) -> Any:
    """Return a number as every JSON writer writes it: 5 and not 5.0."""
    if isinstance(number, float) and abs(number) <= LARGEST_EXACT and number.is_integer():
        return int(number)
    return number


def _bounds(bounds: list[list[Any]]) -> JSONObject:
    return {"bounds": bounds} if bounds else {}


# --- texts


def _str(schema: Any) -> Found:
    missing = []
    rule: JSONObject = {"is": "text"}
    if schema.get("min_length"):
        rule["min_length"] = schema["min_length"]
        if schema.get("strip_whitespace"):
            missing.append("spaces around a text count for min_length")
    if schema.get("max_length") is not None:
        rule["max_length"] = schema["max_length"]
    if schema.get("pattern") is not None:
        missing += _add_pattern(rule, schema)
    return Found(rule, tuple(missing))


def _add_pattern(rule: JSONObject, schema: Any) -> list[str]:
    pattern = schema["pattern"]
    source = getattr(pattern, "pattern", pattern)
    try:
        found = portable_pattern(pattern, is_python=schema.get("regex_engine") == "python-re")
    except UnportableError as error:
        return [f"the pattern {source} is not guarded: {error}"]
    rule["pattern"] = found.rule
    missing = []
    if found.is_partial:
        missing.append(f"the pattern {source} is guarded for texts of printable ASCII only")
    if found.longest is not None and (schema.get("max_length") or found.longest + 1) > found.longest:
        missing.append(f"the pattern {source} is guarded for texts of up to {found.longest} characters only")
    return missing


def _form(said: str, source: str, **more: Any) -> JSONObject:
    return {"is": "text", "said": f"has to be {said}", "pattern": {"source": f"^(?:{source}){_END}"}, **more}


def _date(schema: Any) -> Found:
    bounds, missing = _instants(schema, date.isoformat, is_date=True)
    rule = _form("a date, as 2026-01-31", _DAY, calendar=True, **_bounds(bounds))
    return Found(rule, missing)


def _datetime(schema: Any) -> Found:
    """Return the rule of datetimes.

    Those without a zone, and those of an offset, vary in width. In a union, a datetime may be written as one of them.
    """
    bounds, missing = _instants(schema, write_datetime, is_date=False)
    zone = schema.get("tz_constraint")
    fraction, end = (r"(?:\.[0-9]{1,6})?", "(?:Z|[+-][0-9]{2}:[0-9]{2})?") if schema["in_union"] else _width(zone)
    if isinstance(zone, int):
        missing = (*missing, "its offset is not guarded")
    if schema["in_union"]:
        missing = (*missing, "its time zone and the width of its fraction are not guarded in a union")
    said = f"a datetime, as 2026-01-31T12:30:00.000000{'' if zone == 'naive' else 'Z'}"
    return Found(_form(said, f"{_DAY}T{_CLOCK}{fraction}{end}", calendar=True, **_bounds(bounds)), missing)


def _width(zone: Any) -> tuple[str, str]:
    """Return the patterns of the fraction of a second and of the zone, by the constraint on the zone."""
    return {
        None: (r"\.[0-9]{6}", "Z?"),
        "aware": (r"\.[0-9]{6}", "Z"),
        "naive": (r"(?:\.[0-9]{1,6})?", ""),
    }.get(zone, (r"(?:\.[0-9]{1,6})?", "(?:Z|[+-][0-9]{2}:[0-9]{2})"))


def _instants(schema: Any, write: Callable[[Any], str], *, is_date: bool) -> tuple[list[list[Any]], tuple[str, ...]]:
    """Return the bounds of dates or datetimes, whose texts sort as they do, and what they lack."""
    bounds = []
    missing = [f"that it is in the {schema['now_op']} is not guarded"] if schema.get("now_op") else []
    for kind, words in _SAID.items():
        bound = schema.get(kind)
        if bound is None:
            continue
        if isinstance(bound, datetime) == is_date or not isinstance(bound, date):
            missing.append(f"{kind} is not guarded")
            continue
        bounds.append([kind, write(bound), f"{words} {write(bound)}"])
        if not is_date:
            missing.append(
                f"{kind} is guarded for datetimes of the same form as the bound, with a time zone or without"
            )
    return bounds, tuple(missing)


def _time(schema: Any) -> Found:
    missing = [f"{kind} is not guarded for a time" for kind in _SAID if schema.get(kind) is not None]
    if schema.get("tz_constraint") is not None:
        missing.append("its time zone is not guarded")
    zone = r"(?:Z|[+-][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?"
    return Found(_form("a time, as 12:30:00", rf"{_CLOCK}(?:\.[0-9]{{1,6}})?{zone}"), tuple(missing))


def _uuid(schema: Any) -> Found:
    version = schema.get("version")
    digit = "[0-9a-fA-F]"
    source = f"{digit}{{8}}-{digit}{{4}}-{version or digit}{digit}{{3}}-{digit}{{4}}-{digit}{{12}}"
    return Found(_form(f"a UUID{f' of version {version}' if version else ''}", source))


def _bytes(schema: Any) -> Found:
    """Return the rule of bytes, which have two digits each."""
    sizes = {key: 2 * schema[key] for key in ("min_length", "max_length") if schema.get(key) is not None}
    return Found(_form("an even number of hexadecimal digits", "(?:[0-9a-fA-F]{2})*", **sizes))


def _url(schema: Any) -> Found:
    return Found({"is": "text"}, ("that it is a URL is not guarded",))


# --- choices


def _choice(values: list[Any]) -> Found:
    scalars = [value.value if isinstance(value, enum.Enum) else value for value in values]
    if not all(value is None or isinstance(value, (str, int, float)) for value in scalars):
        return Found({"is": "anything"}, ("its choices are not guarded, since some are no texts, numbers or booleans",))
    plain = [_plain_scalar(value) for value in scalars]
    return Found({"is": "choice", "values": plain, "said": one_of(plain)})


def _plain_scalar(value: Any) -> Any:
    """Return a value without the subclass that it may be of."""
    # A bool is an int, so it comes first.
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return value if kind is bool else _plain(kind(value))
    return value


def _literal(schema: Any) -> Found:
    return _choice(list(schema["expected"]))


def _enum(schema: Any) -> Found:
    if schema.get("missing") is not None:
        return Found({"is": "anything"}, ("its choices are not guarded, since its class has a _missing_()",))
    return _choice(list(schema["members"]))


READERS: Final[Mapping[str, Callable[[Any], Found]]] = {
    "bool": lambda _: Found({"is": "boolean"}),
    "bytes": _bytes,
    "complex": lambda _: Found({"is": "text"}, ("that it is a complex number is not guarded",)),
    "date": _date,
    "datetime": _datetime,
    "decimal": _decimal,
    "enum": _enum,
    "float": _float,
    "int": _int,
    "literal": _literal,
    "multi-host-url": _url,
    "none": lambda _: Found({"is": "null"}),
    "str": _str,
    "time": _time,
    "timedelta": _duration,
    "url": _url,
    "uuid": _uuid,
}
"""The functions that make rules, by the type of a core schema."""
