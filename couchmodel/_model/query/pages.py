"""Pages: a page of results, and the token that says where the next one begins.

A token holds the values of the sort in the last row, and the id of its document. The next page asks for what comes
after them, so a row is neither lost nor given twice if rows are deleted or added meanwhile. CouchDB's own bookmark is
the key of the last row and the advice to skip one, which loses a row where that row was deleted.
"""

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from couchmodel._model.query.selector import all_of
from couchmodel._model.schema.expressions.places import Ordering
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["Page", "continue_after", "read_token", "write_token"]

T = TypeVar("T")

_DIGEST_BYTES: Final = 9


class Page(BaseModel, Generic[T]):
    """A page of results. ``next`` is the token of the next page, a text that is safe in a URL; None after the last."""

    items: list[T]
    next: str | None = None


def write_token(query: Any, position: Sequence[Any]) -> str:
    """Return the token of a position in the results of a query; both are JSON."""
    text = encode(list(position))
    return base64.urlsafe_b64encode(_digest(query, text) + text).rstrip(b"=").decode("ascii")


def read_token(query: Any, token: str) -> list[Any]:
    """Return the position of a token. Raises QueryError if it is none, or is of another query."""
    try:
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
    return blake2b(encode(query) + b"\n" + text, digest_size=_DIGEST_BYTES).digest()
