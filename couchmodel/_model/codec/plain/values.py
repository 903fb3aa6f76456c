"""Checks of values. Each returns True only for a value that is certainly read again as it is.

False says nothing: the text of such a value has to be read, and compared. NaN and infinity pass here. The codec finds
them in the text.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType, NoneType
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from pydantic_core import TzInfo

from couchmodel._model.schema.links.link import Link

__all__ = [
    "JSON",
    "Check",
    "Kinds",
    "check_both",
    "dict_check",
    "has_64_bits",
    "is_aware_instant",
    "is_instant",
    "is_naive_instant",
    "leads_to_document",
    "leads_to_document_or_nothing",
    "list_check",
    "model_check",
    "validation_check",
]

Check = Callable[[Any], bool]

Kinds = Mapping[type, Check | None]
"""The types of the values that a place may hold, each with the check of its values; None if the type is enough.

Values of subclasses are not among them, as JSON does not keep their class.
"""


# --- models and collections


def model_check(fields: Sequence[tuple[str, Kinds]]) -> Check:
    """Return the check of the objects of one class by the kinds of its fields."""

    def check(model: Any) -> bool:
        # Undeclared members may hold values of any type.
        if model.__pydantic_extra__:
            return False
        members = model.__dict__
        try:
            # This loop is most of the time that a check takes. An error costs nothing where none is raised.
            for name, kinds in fields:
                value = members[name]
                further = kinds[type(value)]
                if further is not None and not further(value):
                    return False
        except KeyError:  # a field without a value, or a value of another type
            return False
        return True

    return check


def list_check(kinds: Kinds, least: int, most: int | None) -> Check:
    """Return the check of lists of elements of these kinds, of a number from ``least`` to ``most``."""
    are_elements = _all_check(kinds)
    if not least and most is None:
        return are_elements
    return lambda values: _has_length(values, least, most) and are_elements(values)


def dict_check(kinds: Kinds, least: int, most: int | None) -> Check:
    """Return the check of dictionaries with keys of text and values of these kinds."""
    are_values = _all_check(kinds)

    def check(members: dict[Any, Any]) -> bool:
        return _TEXT.issuperset(map(type, members)) and are_values(members.values())

    if not least and most is None:
        return check
    return lambda members: _has_length(members, least, most) and check(members)


def _all_check(kinds: Kinds) -> Check:
    if not any(kinds.values()):
        types = frozenset(kinds)
        return lambda values: types.issuperset(map(type, values))

    def check(values: Any) -> bool:
        try:
            for value in values:
                further = kinds[type(value)]
                if further is not None and not further(value):
                    return False
        except KeyError:  # a value of another type
            return False
        return True

    return check


def _has_length(values: Any, least: int, most: int | None) -> bool:
    return least <= len(values) and (most is None or len(values) <= most)


_TEXT: Final = frozenset({str})


# --- single values


def has_64_bits(number: int) -> bool:
    """Return True for an integer of at most 64 bits. Parsers of JSON bound the digits of integers."""
    return -(2**63) <= number < 2**63


def is_instant(value: datetime) -> bool:
    """Return True for a datetime, with a time zone or without, that pydantic and Python write alike."""
    zone = value.tzinfo
    return zone is None or zone is UTC or _has_whole_minutes(value)


def is_aware_instant(value: datetime) -> bool:
    """Return True for such a datetime with a time zone."""
    return value.tzinfo is not None and is_instant(value)


def is_naive_instant(value: datetime) -> bool:
    """Return True for a datetime without a time zone."""
    return value.tzinfo is None


def _has_whole_minutes(value: datetime) -> bool:
    # pydantic writes the hours and minutes of an offset. Classes of time zones that are not known here may do anything.
    offset = value.utcoffset() if type(value.tzinfo) in _ZONES else None
    return offset is not None and not offset % _MINUTE


_MINUTE: Final = timedelta(minutes=1)
_ZONES: Final = frozenset({TzInfo, timezone, ZoneInfo})


def leads_to_document(link: Link[Any]) -> bool:
    """Return True for a link with an id."""
    id = link.id_or_none
    # A link to an id of CouchDB's own, or to an empty one, is refused when it is read.
    return type(id) is str and id[:1] not in ("", "_")


def leads_to_document_or_nothing(link: Link[Any]) -> bool:
    """Return True for a link with an id, and for an empty one."""
    return link.id_or_none is None or leads_to_document(link)


def validation_check(validate: Callable[[Any], Any]) -> Check:
    """Return the check that a validator, for values of one type, accepts a value without a change."""

    def check(value: Any) -> bool:
        try:
            return bool(validate(value) == value)
        except ValidationError:
            return False

    return check


def check_both(one: Check, other: Check) -> Check:
    """Return the check that a value passes two checks."""
    return lambda value: one(value) and other(value)


# --- any JSON

_JSON: Final[dict[type, Check | None]] = {str: None, bool: None, NoneType: None, float: None, int: has_64_bits}
JSON: Final[Kinds] = MappingProxyType(_JSON)
"""The types that a parser of JSON makes."""
# Arrays and objects hold values of the same types, so they are added when the mapping is there.
_JSON.update({list: list_check(JSON, 0, None), dict: dict_check(JSON, 0, None)})
