"""Pages: a page of results, and the token that says where the next one begins.

A token holds the values of the sort in the last row, and the id of its document. The next page asks for what comes
after them, so a row is neither lost nor given twice if rows are deleted or added meanwhile. CouchDB's own bookmark is
the key of the last row and the advice to skip one, which loses a row where that row was deleted.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from couchmodel._model.query.indexes import ChosenIndex, advise_index, choose_index
from couchmodel._model.query.readers import member_at
from couchmodel._model.query.selector import all_of
from couchmodel._model.schema.expressions.places import Ordering, split_path
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["Page", "PageRequest", "continue_after", "page_order", "read_token", "write_token"]

T = TypeVar("T")

_DIGEST_BYTES: Final = 9
"""The bytes of a token that tell its query. They are 12 characters of Base64, without a rest."""

_BY_ID: Final = Ordering("_id")


class Page(BaseModel, Generic[T]):
    """A page of results. ``next`` is the token of the next page, a text that is safe in a URL; None after the last."""

    items: list[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What is asked for a page.

    ``body`` is that of ``_find``, without its limit. ``key`` is what a token belongs to, and ``order`` that of the
    rows.
    """

    body: JSONObject
    key: list[Any]
    order: Sequence[Ordering]
    size: int

    def cut(self, rows: list[bytes]) -> tuple[list[bytes], str | None]:
        """Return the rows of the page, and the token of the next one.

        One row more than the page has was asked for, to know whether there is a next page.
        """
        if len(rows) <= self.size:
            return rows, None
        last = decode(rows[self.size - 1])
        position = [member_at(last, split_path(each.path)) for each in self.order]
        return rows[: self.size], write_token(self.key, position)


def page_order(
    model: Any, selector: JSONObject, orderings: Sequence[Ordering]
) -> tuple[tuple[Ordering, ...], ChosenIndex | None]:
    """Return the order of a query's pages, and the index that has it.

    It is the order of all columns of the index from the first of the sort on, and of the ids at the end: so each
    document has a place of its own. Raises QueryError if no index has such an order.
    """
    if orderings and orderings[0].path == "_id":
        return tuple(orderings[:1]), None
    if any(ordering.path == "_id" for ordering in orderings):
        raise QueryError("pages have the order of the ids after that of the sort: leave out `id` behind other fields")
    chosen = choose_index(model, selector, orderings, for_pages=True)
    if chosen is None:
        if orderings:
            raise QueryError(f"pages in this order need an index: {advise_index(model, selector, orderings)}")
        return (_BY_ID,), None
    first, direction = orderings[0] if orderings else (chosen.index.paths[0], "asc")
    columns = chosen.index.paths[chosen.index.paths.index(first) :]
    return tuple(Ordering(path, direction) for path in dict.fromkeys((*columns, "_id"))), chosen


def write_token(query: Any, position: Sequence[Any]) -> str:
    """Return the token of a position in the results of a query; both are JSON."""
    text = encode(list(position))
    return base64.urlsafe_b64encode(_digest(query, text) + text).rstrip(b"=").decode("ascii")


def read_token(query: Any, token: str) -> list[Any]:
    """Return the position of a token. Raises QueryError if it is none, or is of another query."""
    try:
        # Tokens have no padding, so that they need no quoting in a URL.
        content = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True)
        digest, text = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        position = decode(text)
    except (AttributeError, ValueError, binascii.Error):
        raise QueryError(f"after={token!r} is not the token of a page: give the `next` of the page before") from None
    if digest != _digest(query, text) or not isinstance(position, list):
        raise QueryError(
            f"after={token!r} is the token of another query: its conditions and its sort have to be the same"
        )
    return position


def continue_after(selector: JSONObject, order: Sequence[Ordering], position: Sequence[Any]) -> JSONObject:
    """Return the selector of the documents that come after a position, which has a value for each field of the order.

    The last field of the order is ``_id``, so no two documents have one position.
    """
    later = "$lt" if order[0].direction == "desc" else "$gt"
    # The condition on the first field alone is the one by which an index finds the place.
    first: JSONObject = {order[0].path: {later if len(order) == 1 else f"{later}e": position[0]}}
    if len(order) == 1:
        return all_of(selector, first)
    branches: list[JSONObject] = []
    for place, ordering in enumerate(order):
        equal: list[JSONObject] = [{order[n].path: {"$eq": position[n]}} for n in range(place)]
        branches.append({"$and": [*equal, {ordering.path: {later: position[place]}}]})
    return all_of(selector, first, {"$or": branches})


def _digest(query: Any, text: bytes) -> bytes:
    # The position is part of the digest, so a token that was cut or changed is refused.
    return blake2b(encode(query) + b"\n" + text, digest_size=_DIGEST_BYTES).digest()
