"""The options of a replication, its counts, and its id."""

import hashlib
import heapq
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import unquote_plus

from couchmodel._wire.messages import encode
from couchmodel.errors import BadRequestError

__all__ = ["ReplicationCounts", "ReplicationOptions", "parse_options", "replication_id", "sort_ids"]

_SELECTION_OPTIONS: Final = ("doc_ids", "filter", "selector")
"""Options that select documents. CouchDB allows one of them."""

_ID_OPTIONS: Final = (*_SELECTION_OPTIONS, "query_params", "winning_revs_only", "since_seq")
"""Options that are part of the id of a replication, because they decide what is replicated."""

_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    "cancel": (bool, "a boolean"),
    "create_target": (bool, "a boolean"),
    "create_target_params": (dict, "a JSON object"),
    "winning_revs_only": (bool, "a boolean"),
    "continuous": (bool, "a boolean"),
    "filter": (str, "a string"),
    "query_params": (dict, "an object"),
    "doc_ids": (list, "an array"),
    "selector": (dict, "a JSON object"),
    "use_checkpoints": (bool, "a boolean"),
    "use_bulk_get": (bool, "a boolean"),
}
"""The options whose type CouchDB checks, with the type and CouchDB's word for it."""

_FILTER: Final = re.compile(r"_.*|[^/]+/[^/]+", re.DOTALL)
"""A built-in filter, or a function of a design document as ``design/function``."""

_PART: Final = 10_000
"""Ids that are sorted at a time."""

_INTERVAL: Final = 30_000
"""Milliseconds between checkpoints: CouchDB's default (manual, ``replicator/checkpoint_interval``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationOptions:
    """CouchDB's options of these names. ``checkpoint_interval`` is in milliseconds."""

    continuous: bool = False
    create_target: bool = False
    create_target_params: Mapping[str, Any] = field(default_factory=dict)
    doc_ids: Sequence[str] | None = None
    selector: Mapping[str, Any] | None = None
    filter: str | None = None
    query_params: Mapping[str, Any] = field(default_factory=dict)
    since_seq: str | int | None = None
    use_checkpoints: bool = True
    checkpoint_interval: int = _INTERVAL
    winning_revs_only: bool = False
    selection: bytes = field(init=False, repr=False)
    """The options that decide what is replicated, as JSON."""

    def __post_init__(self) -> None:
        """Check the options.

        Raises BadRequestError for options that exclude each other, and for a filter that names no function.
        """
        if sum(getattr(self, name) is not None for name in _SELECTION_OPTIONS) > 1:
            raise BadRequestError("`doc_ids`,`filter`,`selector` are mutually exclusive")
        if self.filter is not None and not _FILTER.fullmatch(self.filter):
            raise BadRequestError("Invalid filter. Must match `ddocname/filtername`.")
        object.__setattr__(self, "selection", encode({name: getattr(self, name) for name in _ID_OPTIONS}))


@dataclass(slots=True)
class ReplicationCounts:
    """The counts of what a replication has done, in CouchDB's order."""

    missing_checked: int = 0
    missing_found: int = 0
    docs_read: int = 0
    docs_written: int = 0
    doc_write_failures: int = 0
    bulk_get_docs: int = 0
    bulk_get_attempts: int = 0


def parse_options(body: Mapping[str, Any]) -> ReplicationOptions:
    """Return the options among the members of a request or of a document of ``_replicator``.

    Unknown members are skipped and ``doc_ids`` are percent-decoded, both as in CouchDB.

    Raises BadRequestError for an option of a wrong type, and for options that exclude each other.
    """
    # A null of this name means all documents, in CouchDB as well.
    given = {name: value for name, value in body.items() if not (name == "doc_ids" and value is None)}
    for name, (kind, words) in _TYPES.items():
        if name in given and not isinstance(given[name], kind):
            raise BadRequestError(f"parameter `{name}` must be {words}")
    if not all(isinstance(id, str) for id in given.get("doc_ids", ())):
        raise BadRequestError("parameter `doc_ids` must be an array")
    if "doc_ids" in given:
        # The ids are part of the replication's id, so their order must not matter.
        given["doc_ids"] = sort_ids([unquote_plus(id) for id in given["doc_ids"]])
    if "checkpoint_interval" in given:
        given["checkpoint_interval"] = _parse_interval("checkpoint_interval", given["checkpoint_interval"])
    known = {each.name: given[each.name] for each in fields(ReplicationOptions) if each.init and each.name in given}
    return ReplicationOptions(**known)


def sort_ids(ids: Sequence[str]) -> tuple[str, ...]:
    """Return ids in order, each once.

    They are sorted in parts: Python gives no other thread a turn while it sorts a list.
    """
    parts = [sorted(ids[start : start + _PART]) for start in range(0, len(ids), _PART)]
    return tuple(id for id, _ in itertools.groupby(heapq.merge(*parts)))


def _parse_interval(name: str, value: Any) -> int:
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        raise BadRequestError(f"parameter `{name}` must be an integer") from None


def replication_id(source: str, target: str, options: ReplicationOptions, code: str | None = None) -> str:
    """Return the id under which both ends keep the checkpoints of a replication.

    Replications of the same ends with the same selection have the same id. ``code`` is the source code of the filter
    function, or None. It is part of the id because another function may let changes through that lie before a
    checkpoint.
    """
    # CouchDB's replicator hashes Erlang terms (`couch_replicator_ids`), so its ids are others. Each replicator has its
    # own checkpoints.
    named = b"[%b,%b,%b]" % (encode(source), encode(target), options.selection)
    if code is not None:
        named += encode(code)
    return hashlib.md5(named, usedforsecurity=False).hexdigest()
