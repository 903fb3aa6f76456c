"""Merging of groups, where CouchDB cannot reduce just the rows of a range."""

from collections.abc import Sequence
from typing import Any

from couchmodel._model.views.definition import ViewDefinition
from couchmodel._model.views.results import Stats
from couchmodel.errors import QueryError

__all__ = ["merge_groups"]


def merge_groups(view: ViewDefinition, values: Sequence[Any]) -> Any:
    """Return the value of all rows, of the values of their groups. Raises QueryError for other functions' values."""
    if view.reduce == "_stats":
        return Stats(
            sum=sum(each.sum for each in values),
            count=sum(each.count for each in values),
            min=min(each.min for each in values),
            max=max(each.max for each in values),
            sumsqr=sum(each.sumsqr for each in values),
        )
    if view.reduce not in ("_count", "_sum"):
        raise QueryError(f"{view.where}: the rows of a text's prefix can be reduced by _count, _sum and _stats only")
    total = values[0]
    # ``sum`` would begin with 0, to which a duration cannot be added.
    for each in values[1:]:
        total += each
    return total
