"""A planned query, its place in the results, and a batch of its documents."""

import base64
import binascii
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.mango.fields import Projection
from couchmodel._embedded.mango.options import invalid_bookmark_error
from couchmodel._embedded.mango.planner import Plan
from couchmodel._embedded.mango.proof import Proof
from couchmodel._embedded.mango.selector import Selector
from couchmodel._embedded.views.designs import View
from couchmodel._wire.messages import decode, encode

__all__ = ["FindBatch", "IndexView", "Position", "Search", "Statistics", "pack_bookmark", "unpack_bookmark"]


class Position(NamedTuple):
    """The last row of a page: its key in the index as JSON, None without an index, and the id of its document."""

    key: bytes | None
    id: str


@dataclass(slots=True, frozen=True)
class IndexView:
    """The view of an index. The number is None if the index is not built yet, and then it has no rows."""

    number: int | None
    view: View


@dataclass(slots=True, frozen=True)
class Search:
    """A planned query of all documents, or of those of a ``partition``."""

    database_id: int
    selector: Selector
    plan: Plan
    source: IndexView | None
    """The index to read; None to read the documents in the order of their ids."""
    partition: str
    projection: Projection
    limit: int
    skip: int
    after: Position | None
    conflicts: bool
    reads_copies: bool
    """True if the query asks for several copies of each document (``r`` above 1), which changes the counts."""
    covered: bool
    """True if the keys of the index have all members that the query needs."""
    selector_covered: bool
    """True if they have those that the selector tests, and the documents are returned as they are stored."""
    proof: Proof | None
    """The proof that all documents in the range match, and are returned as they are stored."""
    wants_statistics: bool
    """True to count as CouchDB does, which reads on to the first match after the last document that it returns."""
    members: frozenset[str] | None
    """The members of a document that the selector and the fields name; None if they may be any."""
    seconds: float
    """The time in which the search has to find its next document."""


@dataclass(slots=True)
class Statistics:
    """The numbers of rows and documents that a search has examined.

    They are CouchDB's: a shard sends its counts with each row, and the coordinator drops the rows of design documents
    together with their counts (``mango_cursor_view.erl``).
    """

    keys: int = 0
    documents: int = 0
    returned: int = 0
    kept: tuple[int, int] = (0, 0)

    def count(self, *, is_read: bool = True) -> None:
        """Count an examined row of the range; ``is_read`` says that its document was read."""
        self.keys += 1
        self.documents += is_read

    def checkpoint(self) -> None:
        """Keep the counts so far, as with a row that a shard sends."""
        self.kept = self.keys, self.documents

    def roll_back(self) -> None:
        """Go back to the counts of the last call of ``checkpoint``."""
        self.keys, self.documents = self.kept


@dataclass(slots=True)
class FindBatch:
    """Some documents as JSON. ``rest`` is the search for the documents that follow, None at the end.

    ``size`` is in bytes of ``rows``; ``parsed`` is the bytes of JSON that were parsed for them.
    """

    rows: list[bytes] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)
    last: Position | None = None
    rest: Search | None = None
    size: int = 0
    parsed: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def is_full(self) -> bool:
        """True if the batch has its number of rows or bytes, or has used up its time."""
        return (
            self.size > limits.BATCH_BYTES
            or len(self.rows) >= limits.BATCH_ROWS
            or self.statistics.keys >= limits.BATCH_EXAMINED
            or self.seconds > limits.TURN_SECONDS
        )

    @property
    def seconds(self) -> float:
        """The seconds since the batch was begun."""
        return time.monotonic() - self.started

    def add(self, row: bytes) -> None:
        """Add a document as JSON."""
        self.rows.append(row)
        self.size += len(row)
        self.statistics.returned += 1


def pack_bookmark(position: Position) -> str:
    """Encode a position as a bookmark."""
    text = b"[%b,%b]" % (position.key or b"null", to_json(position.id))
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def unpack_bookmark(text: str) -> Position | None:
    """Decode a bookmark; None stands for the beginning. Raises BadRequestError."""
    if text in ("", "nil"):
        return None
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        key, id = decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error):
        raise invalid_bookmark_error(text) from None
    if not isinstance(id, str) or not isinstance(key, list | None):
        raise invalid_bookmark_error(text)
    return Position(None if key is None else encode(key), id)
