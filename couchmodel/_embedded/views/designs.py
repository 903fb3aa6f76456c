"""Parse the views of design documents, and compute the signatures of their indexes."""

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
"""The language of Mango indexes, which ``POST /{db}/_index`` creates."""

JAVASCRIPT: Final = "javascript"
"""The language of map functions, and the default."""


class View(NamedTuple):
    """A view of a design document.

    ``place`` is its number in the index. ``map`` is the source of a function, or the definition of a Mango index.
    ``raw`` says that keys are compared in Erlang's term order (``"collation": "raw"``). ``prefix`` is not empty if the
    view is narrowed to a partition.
    """

    name: str
    place: int
    map: Any
    reduce: str | None
    raw: bool
    prefix: bytes = b""

    @property
    def order(self) -> Callable[[JSON], bytes]:
        """The function that turns a key into bytes that compare in the order of the view, without the partition."""
        return raw_key if self.raw else sort_key

    def key_of(self, value: JSON) -> bytes:
        """Return the sort key of a key, in the partition to which the view is narrowed."""
        return self.prefix + self.order(value)

    def in_partition(self, partition: str) -> "View":
        """Return the view narrowed to a partition."""
        return self._replace(prefix=partition_prefix(partition))


def partition_prefix(partition: str) -> bytes:
    """Return the prefix of the sort keys of a partition. It keeps the rows of a partition together, as in CouchDB."""
    return partition.encode() + b"\0"


@dataclass(slots=True, frozen=True)
class Design:
    """A design document with its views.

    Design documents with equal signatures share one index. ``include_design`` says that design documents are indexed
    too, ``local_seq`` that map functions see ``_local_seq``.
    """

    id: str
    body: Mapping[str, Any]
    language: str
    views: tuple[View, ...]
    signature: str
    include_design: bool
    local_seq: bool
    partitioned: bool

    def view(self, name: str) -> View:
        """Return a view by its name. Raises NotFoundError."""
        for view in self.views:
            if view.name == name:
                return view
        raise NotFoundError("missing_named_view")


def parse_design(id: str, body: Mapping[str, Any], *, partitioned: bool = False) -> Design:
    """Return a design document with its views. Members of ``views`` that are not views are skipped.

    ``partitioned`` says that the database is partitioned. The views are too, unless the design document opts out.
    """
    language = body.get("language", JAVASCRIPT)
    options = _object(body.get("options"))
    views = _object(body.get("views"))
    mapped = [
        # `lib` holds modules for the functions of the other members: see CommonJS modules in CouchDB's manual.
        (name, view)
        for name, view in views.items()
        if name != "lib" and isinstance(view, dict) and "map" in view
    ]
    return Design(
        id,
        body,
        language,
        tuple(_parse_view(place, name, view) for place, (name, view) in enumerate(mapped)),
        _signature(language, options, views.get("lib"), mapped),
        options.get("include_design") is True,
        options.get("local_seq") is True,
        partitioned and options.get("partitioned") is not False,
    )


def _parse_view(place: int, name: str, view: Mapping[str, Any]) -> View:
    reduce = view.get("reduce")
    raw = _object(view.get("options")).get("collation") == "raw"
    return View(name, place, view["map"], reduce if isinstance(reduce, str) else None, raw)


def _signature(*parts: object) -> str:
    """Return a hash of all parts of a design document on which the rows of its index depend."""
    # Not the signature that CouchDB would compute. Clients only compare signatures.
    return hashlib.md5(encode(parts), usedforsecurity=False).hexdigest()


def _object(value: object) -> Mapping[str, Any]:
    """Return the value if it is a JSON object, or else an empty one."""
    return value if isinstance(value, dict) else {}
