"""The declaration of a view: its options and its name, whatever model it is of."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from couchmodel.errors import ConfigurationError

__all__ = ["BUILT_IN", "NUMERIC", "ViewDeclaration"]

NUMERIC: Final = ("_sum", "_stats")
_DECLARED: Final = ("_count", *NUMERIC)
BUILT_IN: Final = re.compile(r"_(count|sum|stats|approx_count_distinct|first|last|top_\d+|bottom_\d+)")


class ViewDeclaration:
    """The options of a view, which fit together, and its name on the class.

    ``keys`` are the paths of the key's fields; ``is_tuple`` is true if they are given as a tuple.
    """

    name: str = ""

    def __init__(
        self,
        key: Any,
        value: str | None,
        reduce: str | Path | None,
        where: Mapping[str, Any] | Callable[[Any], Any] | None,
        map: str | Path | None,
        *,
        each: bool,
    ) -> None:
        # A view has one of the two: here both are given, or none is.
        if (key is None) == (map is None):
            raise ConfigurationError("a view has a key, as in View(key='rating'), or a map function, View(map=…)")
        if map is not None and (value is not None or each or where is not None):
            raise ConfigurationError("value=, each= and where= belong to a key: a map function says them itself")
        self.is_tuple = isinstance(key, tuple)
        self.keys: tuple[str, ...] = () if key is None else key if self.is_tuple else (key,)
        if key is not None:
            _check_fields(self.keys, value, reduce)
            if where is not None and not callable(where) and not isinstance(where, Mapping):
                raise ConfigurationError(f"where is a selector or a function of the class, not {where!r}")
        elif isinstance(reduce, str) and reduce.startswith("_") and not BUILT_IN.fullmatch(reduce):
            raise ConfigurationError(f"{reduce!r} is no reduce function that CouchDB has built in")
        self.value = value
        self.reduce = reduce
        self.where = where
        self.map = map
        self.each = each

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


def _check_fields(keys: tuple[str, ...], value: str | None, reduce: str | Path | None) -> None:
    if not keys:
        raise ConfigurationError("the key of a view has at least one field, as in View(key=('author', 'published'))")
    if reduce is not None and reduce not in _DECLARED:
        allowed = ", ".join(map(repr, _DECLARED))
        raise ConfigurationError(f"a view by fields is reduced by {allowed}, not {reduce!r}: others need View(map=…)")
    if reduce in NUMERIC and value is None:
        raise ConfigurationError(f"reduce={reduce!r} needs the numbers of a field: give value='…'")
