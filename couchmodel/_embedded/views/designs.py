"""Design documents as far as views go: which views there are, and what the index of a design document depends on."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from couchmodel._embedded.rules.collation import raw_key, sort_key
from couchmodel._wire.messages import encode
from couchmodel.errors import NotFoundError
from couchmodel.types import JSON

__all__ = ["JAVASCRIPT", "QUERY", "Design", "View", "parse_design", "partition_prefix"]

QUERY: Final = "query"
"""The language of declarative views: what ``_index`` makes."""

JAVASCRIPT: Final = "javascript"


class View(NamedTuple):
    """A view: its place in the index, and what defines it."""

    name: str
    place: int
    map: Any
    reduce: str | None
    raw: bool
    prefix: bytes = b""

    @property
    def order(self) -> Callable[[JSON], bytes]:
        """What makes bytes of a key that sort as the view does, inside of a partition."""
        return raw_key if self.raw else sort_key

    def key_of(self, value: JSON) -> bytes:
        """The bytes of a key, in the partition that the view is narrowed to."""
        return self.prefix + self.order(value)

    def narrowed(self, partition: str) -> "View":
        """The view as far as it goes in a partition."""
        return self._replace(prefix=partition_prefix(partition))


def partition_prefix(partition: str) -> bytes:
    """What the keys of a partition begin with: their rows lie together, as in CouchDB."""
    return partition.encode() + b"\0"


@dataclass(slots=True, frozen=True)
class Design:
    """A design document with its views. Those of one signature have one index."""

    id: str
    body: Mapping[str, Any]
    language: str
    views: tuple[View, ...]
    signature: str
    include_design: bool
    local_seq: bool
    partitioned: bool

    def view(self, name: str) -> View:
        """The view of that name. Raises NotFoundError."""
        for view in self.views:
            if view.name == name:
                return view
        raise NotFoundError("missing_named_view")


def parse_design(id: str, body: Mapping[str, Any], *, partitioned: bool = False) -> Design:
    """The views of a design document of a database, ``partitioned`` or not. What is no view is passed over."""
    language = body.get("language", JAVASCRIPT)
    options = _object(body.get("options"))
    views = _object(body.get("views"))
    mapped = [
        (name, view) for name, view in views.items() if name != "lib" and isinstance(view, dict) and "map" in view
    ]
    return Design(
        id,
        body,
        language,
        tuple(_view(place, name, view) for place, (name, view) in enumerate(mapped)),
        _signature(language, options, views.get("lib"), mapped),
        options.get("include_design") is True,
        options.get("local_seq") is True,
        partitioned and options.get("partitioned") is not False,
    )


def _view(place: int, name: str, view: Mapping[str, Any]) -> View:
    reduce = view.get("reduce")
    raw = _object(view.get("options")).get("collation") == "raw"
    return View(name, place, view["map"], reduce if isinstance(reduce, str) else None, raw)


def _signature(*parts: object) -> str:
    return hashlib.md5(encode(parts), usedforsecurity=False).hexdigest()


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
