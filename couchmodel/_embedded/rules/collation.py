"""Make binary sort keys of JSON values that have CouchDB's order.

CouchDB orders the keys of views and Mango indexes, and the values that selectors compare, by type first: null, false,
true, numbers, strings, arrays, objects (its manual: "Views Collation"). Strings follow ICU's root collator
(``string_collation``). Strings that it takes for equal are equal as keys, too: a string with a zero-width space equals
the string without it. Document ids and views with ``collation: raw`` follow Erlang's order of terms. ``sort_key`` and
``raw_key`` return bytes that sort in these two orders.

Rule 1: no key is a prefix of another key, so keys can be joined.

Rule 2: an array's key without its last byte is a prefix of the keys of all arrays that begin with the same items, so
these arrays are a range.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeGuard

from couchmodel._embedded import limits
from couchmodel._embedded.rules.string_collation import REPLACEMENT, string_key
from couchmodel.types import JSON

__all__ = ["HIGHEST", "compare", "raw_compare", "raw_key", "sort_key"]

HIGHEST: Final = b"\xff"
"""A byte that sorts after the key of every value."""


# Strings in Erlang's order


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NEXT_BYTE = bytes(range(1, 0x100)) + b"\x00"


def _utf8_key(text: str) -> bytes:
    """Return a string's UTF-8 with each byte raised by one. UTF-8 has no ff, so 00 becomes free for the end mark."""
    return _LONE_SURROGATE.sub(REPLACEMENT, text).encode().translate(_NEXT_BYTE)


# Numbers


_NEGATIVE, _ZERO, _POSITIVE = b"\x1f", b"\x20", b"\x21"
_COMPLEMENT = bytes(range(0xFF, -1, -1))


@lru_cache(2**12)
def _number_key(number: float) -> bytes:
    """Return a number's key: sign, exponent and all bits. So 2**53 + 1 differs from 2.0**53."""
    if not number:
        return _ZERO
    try:
        numerator, denominator = abs(number).as_integer_ratio()
    except (OverflowError, ValueError):
        raise ValueError(f"JSON has no {number}") from None
    # The key of a negative number is the complement of that of its magnitude, so that -2 sorts before -1.
    magnitude = _exponent_key(numerator.bit_length() - denominator.bit_length()) + _mantissa_key(numerator)
    return _POSITIVE + magnitude if number > 0 else _NEGATIVE + magnitude.translate(_COMPLEMENT)


def _exponent_key(exponent: int) -> bytes:
    """Return the key of a binary exponent: one byte from -64 to 189, several bytes beyond."""
    if -0x41 < exponent < 0xBE:
        return (exponent + 0x41).to_bytes()
    if exponent < 0:  # only a float has it, so it is above -1100
        return b"\x00" + (exponent + 0x8000).to_bytes(2)
    return b"\xff" + exponent.to_bytes(8)


def _mantissa_key(integer: int) -> bytes:
    """Return the bits after the leading one in bytes of seven bits, each with a last bit that is 1 if more follow."""
    size = integer.bit_length() - 1
    rest = (integer - (1 << size)) << -size % 7
    size += -size % 7
    groups = bytearray()
    while rest:
        size -= 7
        group, rest = divmod(rest, 1 << size)
        groups.append(group << 1 | (rest > 0))
    return bytes(groups) or b"\x00"


# JSON values


class _Order(NamedTuple):
    """An order of JSON values: the tags of its types, and the function that makes the key of a string."""

    null: bytes
    false: bytes
    true: bytes
    string: bytes
    array: bytes
    object: bytes
    string_to_key: Callable[[str], bytes]


# Numbers have the tags 1f to 21 in both orders. The end mark of strings, arrays and objects is below all tags, so that
# a shorter array sorts before a longer one.
_COLLATED = _Order(b"\x10", b"\x11", b"\x12", string=b"\x30", array=b"\x40", object=b"\x50", string_to_key=string_key)
_RAW = _Order(b"\x31", b"\x30", b"\x32", object=b"\x40", array=b"\x50", string=b"\x60", string_to_key=_utf8_key)
_END = b"\x00"


def sort_key(value: JSON) -> bytes:
    """Return the key of a value in CouchDB's order.

    Raises:
        TypeError: if it is not a JSON value.
        ValueError: if it is NaN or infinite.
    """
    return _key(value, _COLLATED)


def raw_key(value: JSON) -> bytes:
    """Return the key of a value in Erlang's order: numbers, false, null, true, objects, arrays, strings by their bytes.

    Raises:
        TypeError: if it is not a JSON value.
        ValueError: if it is NaN or infinite.
    """
    return _key(value, _RAW)


def compare(left: JSON, right: JSON) -> int:
    """Compare two values in CouchDB's order. Return -1, 0 or 1."""
    return _compare(left, right, sort_key)


def raw_compare(left: JSON, right: JSON) -> int:
    """Compare two values in Erlang's order. Return -1, 0 or 1."""
    return _compare(left, right, raw_key)


def _key(value: JSON, order: _Order) -> bytes:
    if isinstance(value, str):
        return order.string + order.string_to_key(value) + _END
    if value is None:
        return order.null
    if isinstance(value, bool):  # before int, because bool is a subclass of it
        return order.true if value else order.false
    if isinstance(value, (int, float)):
        return _number_key(value)
    if isinstance(value, (list, tuple)):
        return order.array + _keys(value, order) + _END
    if isinstance(value, (dict, Mapping)):
        return order.object + _keys([part for member in value.items() for part in member], order) + _END
    raise TypeError(f"{type(value).__name__} is no type of JSON")


def _keys(values: Sequence[JSON], order: _Order) -> bytes:
    if len(values) <= limits.COLLATED_UNITS:
        return b"".join([_key(value, order) for value in values])
    keys = bytearray()
    for start in range(0, len(values), limits.COLLATED_UNITS):
        keys += _keys(values[start : start + limits.COLLATED_UNITS], order)
    return bytes(keys)


def _compare(left: JSON, right: JSON, key: Callable[[JSON], bytes]) -> int:
    if _is_number(left) and _is_number(right):
        return (left > right) - (left < right)
    # Most comparisons are of numbers, or of equal strings. Neither needs a key.
    if isinstance(left, str) and left == right:
        return 0
    one, other = key(left), key(right)
    return (one > other) - (one < other)


def _is_number(value: JSON) -> TypeGuard[int | float]:
    return type(value) in {int, float}
