"""Ranges of a view's keys: from the arguments of users to CouchDB's parameters.

* Both ends are part of a range. Read backwards, it begins at the highest key.
* A tuple that is shorter than the keys stands for all keys that begin with it: from itself up to itself with an object
  behind it, which sorts after all values in use.
* The prefix of a text is a range up to the prefix with U+FFFF behind it. It may have a few rows too many, as CouchDB's
  order ignores case at first, so each row is looked at again.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from couchmodel._model.codec.forms import encode_operand
from couchmodel._model.views.definition import ViewDefinition
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["UNSET", "Range", "make_range"]

UNSET: Final[Any] = type("Unset", (), {"__repr__": lambda _: "UNSET"})()
"""The argument that was not given. None cannot stand for that, as it may be a key."""

_HIGHEST: Final[JSONObject] = {"\uffff": {}}
"""A key that sorts after all keys in use: objects sort last, by the order of their first names."""

_LARGEST_SAFE: Final = 2**53


class Range(NamedTuple):
    """A range of keys: CouchDB's parameters, and the text with which keys have to begin, None for any.

    CouchDB's order of texts ignores case at first. So the range of a prefix has texts that begin otherwise, too.
    """

    params: JSONObject
    prefix: str | None = None

    def has(self, key: Any) -> bool:
        """Return True if a key, as JSON, begins as it has to."""
        return self.prefix is None or (isinstance(key, str) and key.startswith(self.prefix))


def make_range(
    view: ViewDefinition,
    *,
    key: Any = UNSET,
    start: Any = UNSET,
    end: Any = UNSET,
    prefix: Any = UNSET,
    descending: bool = False,
) -> Range:
    """Return the range of a key, from ``start`` to ``end`` in the order of reading, or of a prefix.

    Raises QueryError for a key of the wrong shape or type, and for arguments that exclude each other.
    """
    given = [name for name, value in (("key", key), ("prefix", prefix)) if value is not UNSET]
    if len(given) > 1 or (given and (start is not UNSET or end is not UNSET)):
        raise QueryError(f"{view.where}: key=, prefix=, and start= with end= exclude each other")
    params: JSONObject = {"descending": True} if descending else {}
    if key is not UNSET:
        return Range({**params, "key": _encode_key(view, key, "key", whole=True)})
    if prefix is not UNSET:
        if not view.is_tuple:
            return _text_range(view, prefix, params, descending=descending)
        low, high = _bounds(view, prefix, "prefix")
        first, last = (high, low) if descending else (low, high)
        return Range({**params, "startkey": first, "endkey": last})
    if start is not UNSET:
        # Read backwards, a range begins at the highest key that ``start`` stands for: True is the index 1.
        params["startkey"] = _bounds(view, start, "start")[descending]
    if end is not UNSET:
        params["endkey"] = _bounds(view, end, "end")[not descending]
    return Range(params)


def _text_range(view: ViewDefinition, prefix: Any, params: JSONObject, *, descending: bool) -> Range:
    encoded = _encode_key(view, prefix, "prefix", whole=True)
    if not isinstance(prefix, str) or not isinstance(encoded, str):
        raise QueryError(f"{view.where}: a prefix is a text, or the first items of a tuple, and {prefix!r} is neither")
    # U+FFFF sorts behind all other characters.
    ends = [encoded, f"{encoded}\uffff"]
    first, last = reversed(ends) if descending else ends
    return Range({**params, "startkey": first, "endkey": last}, prefix)


def _bounds(view: ViewDefinition, value: Any, name: str) -> tuple[Any, Any]:
    """Return the lowest and the highest key that a key stands for.

    A tuple that is shorter than the keys stands for all keys that begin with it.
    """
    key = _encode_key(view, value, name, whole=False)
    if not view.is_tuple or len(key) == len(view.keys):
        return key, key
    # A shorter array sorts before the longer ones that begin with it.
    return key, [*key, _HIGHEST]


def _encode_key(view: ViewDefinition, value: Any, name: str, *, whole: bool) -> Any:
    """Return a key as JSON, encoded as the fields of the view are."""
    if not view.is_tuple:
        return _encode(view, 0, value)
    most = len(view.keys)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > most or (whole and len(value) < most):
        wanted = f"a tuple of {most} items" if whole else f"a tuple of at most {most} items"
        raise QueryError(f"{view.where}: {name} is {wanted}, not {value!r}")
    return [_encode(view, n, each) for n, each in enumerate(value)]


def _encode(view: ViewDefinition, n: int, value: Any) -> Any:
    encoded = encode_operand(view.keys[n].place, value)
    if isinstance(encoded, int) and not isinstance(encoded, bool) and abs(encoded) > _LARGEST_SAFE:
        return int(float(encoded))  # JavaScript has emitted the nearest double
    return encoded
