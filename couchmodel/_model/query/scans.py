"""Queries that read all documents, since no index serves them: the warning, and the advice."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from couchmodel._model.query.indexes import indexable_paths
from couchmodel._model.schema.expressions.places import Ordering

__all__ = ["advise_index", "warn_of_scan"]

_log: Final = logging.getLogger("couchmodel.query")
_warned: Final[set[tuple[type, str]]] = set()


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
