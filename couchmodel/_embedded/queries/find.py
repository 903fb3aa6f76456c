"""``_find``: the documents that a selector matches, in the order of an index or of their ids, a batch at a time.

A plan only narrows the search: each row in its range is read, and the selector decides. If the keys of an index cover
the query, only the index is read. Otherwise the documents are read too, as they are by then.
"""

import base64
import binascii
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.budget import Budget, require_thread
from couchmodel._embedded.documents.attachments import attachment_stubs, unpack
from couchmodel._embedded.documents.reader import (
    ReadOptions,
    StoredRevision,
    document_json,
    find_winner,
    open_winner,
)
from couchmodel._embedded.json.values import decode_stored, free
from couchmodel._embedded.mango.fields import Projection
from couchmodel._embedded.mango.options import invalid_bookmark_error
from couchmodel._embedded.mango.paths import parse_path
from couchmodel._embedded.mango.planner import Plan
from couchmodel._embedded.mango.selector import Selector
from couchmodel._embedded.storage.database_row import check_database, read_row
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.designs import View
from couchmodel._embedded.views.reader import HIGHEST_ID, Place, Row, Span, check_index, read_rows
from couchmodel._wire.messages import decode, encode

__all__ = ["FindBatch", "Position", "Search", "Source", "Statistics", "pack_bookmark", "read_batch", "unpack_bookmark"]


class Position(NamedTuple):
    """The last row of a page: its key in the index as JSON, None without an index, and the id of its document."""

    key: bytes | None
    id: str


@dataclass(slots=True, frozen=True)
class Source:
    """The view of an index. The number is None if the index is not built yet, and then it has no rows."""

    number: int | None
    view: View


@dataclass(slots=True, frozen=True)
class Search:
    """A planned query of all documents, or of those of a ``partition``."""

    database_id: int
    selector: Selector
    plan: Plan
    source: Source | None
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

    def count(self, entry: "_Entry") -> None:
        """Count an examined row of the range."""
        self.keys += 1
        self.documents += entry.is_read

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


def read_batch(connection: Connection, search: Search) -> FindBatch:
    """Read the next documents.

    Raises:
        NotFoundError: the database was dropped.
        ServerError: the query takes too long.
    """
    check_database(connection, search.database_id)
    batch = FindBatch()
    rest = _fill_batch(connection, batch, search, Budget(search.seconds))
    # The time limit is for the next document: an answer of many documents may take longer.
    seconds = limits.QUERY_SECONDS if batch.rows else search.seconds - batch.seconds
    batch.rest = rest and replace(rest, seconds=seconds)
    return batch


def _fill_batch(connection: Connection, batch: FindBatch, search: Search, budget: Budget) -> Search | None:
    """Put documents into a batch. Return the rest of the search, or None at its end."""
    skip, limit = search.skip, search.limit
    for entry in _entries(connection, search, batch):
        budget.pause()
        matches = entry.document is not None and search.selector.matches(entry.document, budget)
        batch.statistics.count(entry)
        if matches or search.reads_copies:
            # Design documents are among the rows, since they may match, but no query returns one.
            if entry.is_design:
                batch.statistics.roll_back()
                continue
            batch.statistics.checkpoint()
        if matches:
            batch.last = entry.position if limit else batch.last
            if skip:
                skip -= 1
            # Beyond the limit a match is only counted, for the statistics: see ``Search.wants_statistics``.
            elif limit:
                limit -= 1
                batch.add(entry.result(search))
            else:
                return None
        if limit == 0 and not search.wants_statistics:
            return None
        if batch.is_full:
            return replace(search, skip=skip, limit=limit, after=entry.position)
    return None


# --- what lies in the range


@dataclass(slots=True)
class _Entry:
    """A row in the plan's range, with the document that the selector judges; None if it is deleted.

    ``is_read`` says that the document was read, and not made from the keys of an index.
    """

    position: Position
    document: dict[str, Any] | None
    found: StoredRevision | None = None
    is_read: bool = False

    @property
    def size(self) -> int:
        """The bytes of the document's body; 0 if the body was not read by itself."""
        return len(self.found.body) if self.found else 0

    @property
    def is_design(self) -> bool:
        """True for a design document, which no query returns."""
        return self.position.id.startswith("_design/")

    def result(self, search: Search) -> bytes:
        """Return the document as JSON, with the fields that the query asks for."""
        document = self.document or {}
        if search.projection.fields:
            return search.projection.pick_json(document, self.size)
        return document_json(self.position.id, self.found) if self.found else encode(document)


def _entries(connection: Connection, search: Search, batch: FindBatch) -> Iterator[_Entry]:
    """Yield the rows in the plan's range, after the page before. A large document is freed after its row."""
    if search.limit == 0 and not search.wants_statistics:
        return
    read = _entries_by_id if search.source is None else _entries_by_index
    for entry in read(connection, search, batch):
        try:
            yield entry
        finally:
            if entry.size > limits.LARGE_JSON:
                free(entry.document)


def _entries_by_id(connection: Connection, search: Search, batch: FindBatch) -> Iterator[_Entry]:
    """Yield the living documents in the plan's range of ids, after the page before."""
    condition, values = _id_condition(search)
    order = "DESC" if search.plan.descending else "ASC"
    rows = connection.execute(
        "SELECT id, rev, deleted, attachments, body FROM document WHERE database = ? AND NOT deleted"
        f"{condition} ORDER BY id {order}",
        (search.database_id, *values),
    )
    for id, *found in rows:
        yield _read_entry(connection, search, Position(None, id), StoredRevision(*found), batch)


def _id_condition(search: Search) -> tuple[str, list[str]]:
    bounds = [(operator, id) for operator, id in _id_bounds(search) if isinstance(id, str)]
    return "".join(f" AND id {operator} ?" for operator, _ in bounds), [id for _, id in bounds]


def _id_bounds(search: Search) -> Iterator[tuple[str, Any]]:
    low, high = search.plan.id_bounds()
    if low is not None:
        yield ">=", low[0]
    if high is not None:
        # An id sorts after every value that is no string.
        yield "<=", high[0] if isinstance(high[0], str) else ""
    if search.partition:
        # The semicolon is the character after the colon.
        yield ">=", f"{search.partition}:"
        yield "<", f"{search.partition};"
    if search.after is not None:
        yield "<" if search.plan.descending else ">", search.after.id


def _entries_by_index(connection: Connection, search: Search, batch: FindBatch) -> Iterator[_Entry]:
    """Yield the rows in the plan's range of the index, after the page before."""
    source = search.source
    if source is None or source.number is None:
        return
    index_seq, _ = check_index(connection, search.database_id, source.number)
    # The keys of a document that was changed since are older than the document, which is what has to match.
    can_judge = search.selector_covered and index_seq == read_row(connection, search.database_id, "update_seq")[0]
    columns = [parse_path(column) for column in search.plan.index.columns]
    after = _resume_place(search, source.view)
    for row in read_rows(connection, source.number, source.view.place, _key_span(search, source.view), after=after):
        position = Position(row.emitted, row.id)
        if search.covered:
            yield _Entry(position, _document_from_row(columns, row))
            continue
        found = find_winner(connection, search.database_id, row.id)
        if can_judge and found is not None and not found.deleted:
            # Parsing the document would take longer than reading it.
            yield _Entry(position, _document_from_row(columns, row), found, is_read=True)
        else:
            yield _read_entry(connection, search, position, found, batch)


def _key_span(search: Search, view: View) -> Span:
    low, high = search.plan.key_bounds(view.order)
    start, end = (view.prefix + low, ""), (view.prefix + high, HIGHEST_ID)
    return Span(end, start, descending=True) if search.plan.descending else Span(start, end)


def _resume_place(search: Search, view: View) -> Place | None:
    if search.after is None:
        return None
    key, id = search.after
    # The bookmark comes from a query without an index.
    if key is None:
        raise invalid_bookmark_error(pack_bookmark(search.after))
    return Place(view.key_of(decode(key)), id, 0)


# --- documents


def _read_entry(
    connection: Connection, search: Search, position: Position, found: StoredRevision | None, batch: FindBatch
) -> _Entry:
    if found is None or found.deleted:
        return _Entry(position, None)
    if search.conflicts:
        opened = open_winner(connection, search.database_id, position.id, ReadOptions(conflicts=True))
        return _Entry(position, _parse_document(opened.text, batch, None), is_read=True)
    document = {"_id": position.id, "_rev": found.rev, **_parse_document(found.body, batch, search.members)}
    if found.attachments:
        document["_attachments"] = attachment_stubs(unpack(found.attachments))
    return _Entry(position, document, found, is_read=True)


def _parse_document(text: bytes, batch: FindBatch, members: frozenset[str] | None) -> dict[str, Any]:
    """Parse a document. Of a large one, only the members that ``members`` names are kept.

    Raises BusyError in the event loop if the batch parses many bytes.
    """
    batch.parsed += len(text)
    if batch.parsed > limits.INLINE_JSON_BYTES:
        require_thread()
    return decode_stored(text, members)


def _document_from_row(columns: list[tuple[str, ...]], row: Row) -> dict[str, Any]:
    """Rebuild members of a document from the keys of an index row."""
    document: dict[str, Any] = {"_id": row.id}
    for path, value in zip(columns, decode(row.emitted), strict=True):
        _put_member(document, path, value)
    return document


def _put_member(document: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *parents, last = path
    inner: object = document
    for name in parents:
        inner = inner.setdefault(name, {}) if isinstance(inner, dict) else None
    if isinstance(inner, dict):  # otherwise another column holds a parent of the member, and so the member
        inner[last] = value


# --- bookmarks


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
