"""The parameters of a request as Python values, turned into a query string's texts.

CouchDB reads keys as JSON, and everything else as plain text. aiocouch leaves both to its users, so ``startkey='"a"'``
stands in their programs; here ``startkey="a"`` says the same.
"""

from collections.abc import Mapping
from typing import Any, Final

from couchmodel._wire.messages import decode, encode

__all__ = ["exact", "lenient"]

_KEYS: Final = frozenset({"key", "keys", "startkey", "start_key", "endkey", "end_key"})


def exact(params: Mapping[str, Any]) -> dict[str, str]:
    """The texts of parameters, every key encoded as JSON; None is a key as well, and no value of another parameter."""
    return {
        name: encode(value).decode() if name in _KEYS else _plain(value)
        for name, value in params.items()
        if value is not None or name in _KEYS
    }


def lenient(params: Mapping[str, Any]) -> dict[str, str]:
    """The same for the calls that aiocouch has: None is left out, and a key may be the JSON text that it asks for.

    A text is taken for JSON where it begins as a JSON string, list or object does and is one.
    """
    given = {name: value for name, value in params.items() if value is not None}
    texts = {name: value for name, value in given.items() if name in _KEYS and _is_json(value)}
    return exact({name: value for name, value in given.items() if name not in texts}) | texts


def _plain(value: object) -> str:
    return value if isinstance(value, str) else encode(value).decode()


def _is_json(value: object) -> bool:
    if not isinstance(value, str) or value[:1] not in {'"', "[", "{"}:
        return False
    try:
        decode(value.encode())
    except ValueError:
        return False
    return True
