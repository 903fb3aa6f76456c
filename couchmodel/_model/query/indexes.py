"""The index contract: which index of a model serves a query. It is known before the query is sent.

* CouchDB uses an index if each of its columns is in the sort or in a condition, because an index leaves out the
  documents that lack a column. A column that the model always stores needs no condition of the program: it is added
  here as ``$exists``.
* Of several indexes CouchDB takes the one that leaves out the fewest fields of the selector, then the one with the
  fewest columns, then the first by name (``mango_cursor_view.erl``). It does not see that a range ends the use of an
  index. Where that choice would be worse, ``use_index`` is sent.
* CouchDB does not look whether a query implies the ``where`` of a partial index, and leaves documents out in silence.
  So a partial index is used only if the query implies it, and is then named.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from couchmodel._model.query.implication import implies
from couchmodel._model.query.selector import build_selector, is_plain, required_paths
from couchmodel._model.schema.expressions.places import Ordering
from couchmodel._model.schema.indexes import always_stored_paths, indexes_of
from couchmodel._wire.messages import encode
from couchmodel.errors import ConfigurationError, QueryError
from couchmodel.types import JSONObject

__all__ = [
    "INDEX_DESIGN_PREFIX",
    "ChosenIndex",
    "ModelIndex",
    "advise_index",
    "choose_index",
    "indexable_paths",
    "model_indexes",
    "warn_of_scan",
]

INDEX_DESIGN_PREFIX: Final = "couchmodel-index-"

_log: Final = logging.getLogger("couchmodel.query")
_warned: Final[set[tuple[type, str]]] = set()
"""The models and advices of which a warning was logged: one is enough, a query may be sent a thousand times."""

_RANGES: Final = frozenset({"$eq", "$gt", "$gte", "$lt", "$lte", "$beginsWith"})
_INDEXABLE: Final = _RANGES | {"$exists"}


class ModelIndex(NamedTuple):
    """An index of a model, in the form that is stored. ``where`` is the selector of a partial index, else empty.

    ``design`` is the name of its design document: a digest of what the index is, so that equal indexes of two models
    are one, and a changed index does not replace the one that other programs still use.
    """

    name: str
    design: str
    paths: tuple[str, ...]
    where: JSONObject

    @property
    def definition(self) -> JSONObject:
        """The member ``index`` of the body of ``_index``."""
        fields: JSONObject = {"fields": list(self.paths)}
        return {**fields, "partial_filter_selector": self.where} if self.where else fields


@dataclass(frozen=True, slots=True)
class ChosenIndex:
    """An index that serves a query.

    ``added`` are the columns for which the query needs a condition ``$exists``. ``is_named`` is True if the query has
    to name the index.
    """

    index: ModelIndex
    added: tuple[str, ...]
    is_named: bool


_model_indexes: WeakKeyDictionary[type, tuple[ModelIndex, ...]] = WeakKeyDictionary()
_stored_paths: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()


def model_indexes(model: Any) -> tuple[ModelIndex, ...]:
    """Return the indexes of a model. Raises ConfigurationError for an index on an unknown field."""
    found = _model_indexes.get(model)
    if found is None:
        _model_indexes[model] = found = tuple(_stored_index(model, *each) for each in indexes_of(model))
    return found


def _stored_index(model: Any, name: str, paths: tuple[str, ...], where: Any) -> ModelIndex:
    selector: JSONObject = {}
    if where is not None:
        try:
            selector = build_selector([where if isinstance(where, Mapping) else where(model)], model=model)
        except (QueryError, AttributeError) as error:
            raise ConfigurationError(f"{model.__name__}: where= of the index {name!r}: {error}") from None
    # The name of the model is left out, so that two models share an index.
    digest = blake2b(encode([name, list(paths), selector]), digest_size=8).hexdigest()
    return ModelIndex(name, f"{INDEX_DESIGN_PREFIX}{digest}", paths, selector)


@dataclass(frozen=True, slots=True)
class _Candidate:
    index: ModelIndex
    added: tuple[str, ...]
    fixed: int
    """How many of its first columns have one value."""
    used: int
    """How many of its first columns narrow the part that is read."""


def choose_index(
    model: Any, selector: JSONObject, order: Sequence[Ordering], *, for_pages: bool = False
) -> ChosenIndex | None:
    """Return the index of a model that serves a query best; None if none does.

    An index with a column ``_id`` is none ``for_pages``: it has ids in the order of texts, and a selector compares them
    by their bytes, so it would not find the place at which a page ends.
    """
    indexes = model_indexes(model)
    if not indexes:
        return None
    sort = [ordering.path for ordering in order]
    # Three questions about a path: must it be there, has it one value, has it a range.
    present, fixed, ranged = required_paths(selector), _paths_with(selector, {"$eq"}), _paths_with(selector, _RANGES)
    stored = _stored_paths.get(model)
    if stored is None:
        _stored_paths[model] = stored = frozenset(always_stored_paths(model))
    found = []
    for index in indexes:
        missing = tuple(path for path in index.paths if path not in present and path not in sort and path != "_id")
        count = _count_leading(index.paths, fixed)
        # The first column with a range still narrows what is read. Columns behind it do not.
        used = count + (index.paths[count : count + 1] != () and index.paths[count] in ranged)
        is_usable = stored.issuperset(missing) and _has_order(index.paths, sort, fixed)
        is_usable = is_usable and not (for_pages and "_id" in index.paths)
        # An index that neither narrows nor sorts reads as much as a scan, and reads it in another order.
        if is_usable and (used or sort or index.where) and implies(selector, index.where):
            found.append(_Candidate(index, missing, count, used))
    if not found:
        return None
    best = min(found, key=lambda each: (-each.fixed, -each.used, len(each.index.paths), each.index.design))
    usable = [
        index
        for index in indexes
        if not index.where
        and {*present, *best.added, *sort, "_id"}.issuperset(index.paths)
        and _has_order(index.paths, sort, fixed)
    ]
    compared = _paths_with(selector, _INDEXABLE).union(best.added)
    return ChosenIndex(best.index, best.added, _couchdb_choice(usable, compared) is not best.index)


def _couchdb_choice(usable: Iterable[ModelIndex], compared: set[str]) -> ModelIndex | None:
    """Return the index that CouchDB prefers for a query with conditions on the paths ``compared``."""
    return min(
        usable,
        key=lambda each: (-_count_leading(each.paths, compared), len(each.paths), each.design, each.name),
        default=None,
    )


def _count_leading(paths: Sequence[str], wanted: set[str]) -> int:
    return next((place for place, path in enumerate(paths) if path not in wanted), len(paths))


def _has_order(columns: Sequence[str], sort: Sequence[str], fixed: set[str]) -> bool:
    """Return True if the sort's fields are adjacent columns, and each column in front of them has one value."""
    if not sort:
        return True
    start = next((place for place, column in enumerate(columns) if column == sort[0]), None)
    if start is None or list(columns[start : start + len(sort)]) != list(sort):
        return False
    return fixed.issuperset(columns[:start])


# --- what a selector says


def indexable_paths(selector: Mapping[str, Any]) -> list[str]:
    """Return the paths on which an index would help a query: first those compared by ``$eq``, then those of ranges."""
    fixed, ranged = _paths_with(selector, {"$eq"}), _paths_with(selector, _RANGES)
    return [*sorted(fixed), *sorted(ranged - fixed)]


def _paths_with(selector: Mapping[str, Any], operators: Iterable[str]) -> set[str]:
    """Return the paths that are compared by one of the operators, at the top and within ``$and``."""
    found: set[str] = set()
    wanted = set(operators)
    for name, condition in selector.items():
        if name == "$and":
            found.update(*(_paths_with(each, wanted) for each in condition))
        elif not name.startswith("$") and is_plain(condition):
            used = condition.keys() if isinstance(condition, Mapping) else {"$eq"}
            if not wanted.isdisjoint(used):
                found.add(name)
    return found


# --- queries that no index serves


def warn_of_scan(model: type, selector: Mapping[str, Any], order: Sequence[Ordering]) -> None:
    """Log a warning of a query that has read all documents, once for each model and advice."""
    advice = advise_index(model, selector, order)
    if (model, advice) not in _warned:
        _warned.add((model, advice))
        _log.warning("a query of %s reads all documents of its database: %s", model.__name__, advice)


def advise_index(model: type, selector: Mapping[str, Any], order: Sequence[Ordering]) -> str:
    """Return the advice for a query that no index serves: the index to declare."""
    own = _type_field(model)
    paths = [path for path in indexable_paths(selector) if path not in ("_id", own)]
    paths += [ordering.path for ordering in order if ordering.path not in ("_id", *paths)]
    if not paths:
        return "no index serves its conditions, so keep it to few documents, or declare a View"
    said = ", ".join(map(repr, paths[:4]))
    return f"declare Index({said}) on {model.__name__} and call apply()"


def _type_field(model: Any) -> str | None:
    declared = model.__declared__
    field: str = declared.type_field
    return field if declared.type is not None else None
