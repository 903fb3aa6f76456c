"""Decimals as JSON texts whose order is the order of the numbers.

A decimal whose scale is declared (``decimal_places``) is stored as a JSON number. Any other may have more digits than a
number keeps, so it is stored as text: a letter for the sign, the exponent of the first digit, and the digits, as in
``"p500001:10.5"``. A negative number has the complement of each digit, and a letter behind them, so that the text of a
larger number is greater: CouchDB's order of strings is ICU's, in which points sort before digits and digits before
letters.
"""

import re
from decimal import Decimal
from typing import Any, Final

__all__ = ["decimal_from_text", "decimal_to_number", "decimal_to_text"]

_BIAS: Final = 500_000
"""The number that is added to exponents, so that none is negative. Six digits hold the range of Python's contexts."""

_LARGEST_EXPONENT: Final = 1000
"""A number is written with all its zeros, so this bounds the length of the text."""

_FORM: Final = re.compile(r"([np])(\d{6}):([\d.]+)z?", re.ASCII)
_COMPLEMENT: Final = str.maketrans("0123456789", "9876543210")


def decimal_to_number(value: Decimal) -> int | float:
    """Return a decimal as a JSON number. Raises ValueError if a number cannot hold its digits."""
    number = int(value) if value == value.to_integral_value() else float(value)
    # ``repr`` is the shortest text of a double, which is what JSON gets.
    if Decimal(repr(number)) != value:
        raise ValueError(
            f"{value} has more digits than a JSON number keeps: leave out decimal_places, to store it as text"
        )
    return number


def decimal_to_text(value: Decimal) -> str:
    """Return a decimal as text that sorts like the numbers. Raises ValueError for NaN and infinity."""
    if not value.is_finite():
        raise ValueError(f"{value} has no place in an order of numbers: store None instead")
    if not value:
        return "o"
    if abs(value.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError(f"{value} has an exponent beyond {_LARGEST_EXPONENT}")
    # The digits without a point would do, but with it the text can be read.
    plain = format(value.copy_abs(), "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    exponent = f"{value.adjusted() + _BIAS:06d}"
    if value > 0:
        return f"p{exponent}:{plain}"
    return f"n{exponent.translate(_COMPLEMENT)}:{plain.translate(_COMPLEMENT)}z"


def decimal_from_text(value: Any) -> Any:
    """Return the number in a text of :func:`decimal_to_text`; any other value as it is."""
    if value == "o":
        return "0"
    found = _FORM.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    sign, _, digits = found.groups()
    return digits if sign == "p" else f"-{digits.translate(_COMPLEMENT)}"
