"""Write JSON values as CouchDB's messages show them: as the text of Erlang terms.

``erlang_binary`` writes the same terms in Erlang's external format.
"""

from decimal import Decimal
from typing import Any

from couchmodel._embedded import limits

__all__ = ["erlang_term"]


def erlang_term(value: Any, *, readable: bool = False) -> str:
    """Return a JSON value as CouchDB's messages write it: as an Erlang term, with a string as the list of its bytes.

    If ``readable``, printable text is written as text, as by Erlang's ``~p``. Unlike ``~p``, this breaks no long lines.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"<<{_erlang_bytes(value.encode('utf-8', 'surrogatepass'), readable=readable)}>>"
    if isinstance(value, dict):
        members = (tuple(erlang_term(part, readable=readable) for part in member) for member in value.items())
        return "{[" + ",".join(f"{{{name},{member}}}" for name, member in members) + "]}"
    if isinstance(value, list):
        return _erlang_list(value, readable=readable)
    return _erlang_float(value) if isinstance(value, float) else str(value)


def _erlang_list(values: list[Any], *, readable: bool) -> str:
    # Erlang writes a list of printable character codes as a string, since it has no other type for strings.
    if readable and values and all(type(value) is int and _is_printable(value) for value in values):
        return _erlang_bytes(bytes(values), readable=True)
    return "[" + ",".join(erlang_term(value, readable=readable) for value in values) + "]"


def _erlang_bytes(data: bytes, *, readable: bool) -> str:
    if readable and data and all(map(_is_printable, data)):
        return '"' + data.decode("utf-8", "replace").translate(_ERLANG_ESCAPES) + '"'
    # In pieces, because other threads wait during each of them.
    step = limits.ERLANG_BYTES
    return ",".join([",".join(map(str, data[start : start + step])) for start in range(0, len(data), step)])


def _is_printable(code: int) -> bool:
    return 0x20 <= code < 0x7F or 0xA0 <= code <= 0xFF or code in _ERLANG_ESCAPES


_ERLANG_ESCAPES = str.maketrans(
    {
        "\b": "\\b",
        "\t": "\\t",
        "\n": "\\n",
        "\v": "\\v",
        "\f": "\\f",
        "\r": "\\r",
        "\x1b": "\\e",
        '"': '\\"',
        "\\": "\\\\",
    }
)


def _erlang_float(number: float) -> str:
    """Return the shorter of the forms 123.0 and 1.23e2, with the fewest digits that read back as the same number."""
    decimal = Decimal(repr(number))
    sign, digits, exponent = decimal.normalize().as_tuple()
    first, *rest = map(str, digits)
    scientific = f"{'-' * sign}{first}.{''.join(rest) or '0'}e{len(rest) + int(exponent)}"
    plain = f"{decimal:f}"
    # From 2**53 on, Erlang always writes the exponent.
    return plain if len(plain) <= len(scientific) and abs(number) < 2**53 else scientific
