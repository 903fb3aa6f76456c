"""Encoding of parameters: Python values to the texts of a query string.

CouchDB reads keys as JSON, and everything else as plain text. With aiocouch, users encode keys themselves, so their
programs have ``startkey='"a"'``; here ``startkey="a"`` does the same.
"""

from collections.abc import Mapping
from typing import Any, Final

from couchmodel._wire.messages import decode, encode

__all__ = ["encode_aiocouch_params", "encode_params"]

_KEY_PARAMS: Final = frozenset({"key", "keys", "startkey", "start_key", "endkey", "end_key"})


def encode_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of parameters. Keys are encoded as JSON, even None; others that are None are left out."""
    return {
        name: encode(value).decode() if name in _KEY_PARAMS else _encode_plain(value)
        for name, value in params.items()
        if value is not None or name in _KEY_PARAMS
    }


def encode_aiocouch_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of parameters for methods that aiocouch has, whose keys may be JSON texts already.

    A string counts as a JSON text if it is one of a string, list or object. All parameters that are None are left out.
    """
    given = {name: value for name, value in params.items() if value is not None}
    # A program that encodes its keys itself, as for aiocouch, must not have them encoded twice.
    texts = {name: value for name, value in given.items() if name in _KEY_PARAMS and _is_json(value)}
    return encode_params({name: value for name, value in given.items() if name not in texts}) | texts


def _encode_plain(value: object) -> str:
    return value if isinstance(value, str) else encode(value).decode()


def _is_json(value: object) -> bool:
    if not isinstance(value, str) or value[:1] not in {'"', "[", "{"}:
        return False
    try:
        decode(value.encode())
    except ValueError:
        return False
    return True
