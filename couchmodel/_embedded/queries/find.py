"""``_find``: the documents that a selector matches, in the order of an index or of their ids, a batch at a time.

The plan only narrows: what lies in its range is read one after the other, and put to the selector. An index that has
all that is wanted in its keys is read alone; with any other one, the documents are read as they are by then.
"""

import base64
import binascii
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded.documents.attachments import shown, unpack
from couchmodel._embedded.documents.reader import Found, Wishes, check_database, document_json, open_winner, winner
from couchmodel._embedded.json.incremental import LARGE, decode_stored, dissolve
from couchmodel._embedded.limits import turns
from couchmodel._embedded.limits.deadlines import check_time
from couchmodel._embedded.limits.turns import TURN, bounded, leave_event_loop
from couchmodel._embedded.mango.fields import Projection
from couchmodel._embedded.mango.options import bad_bookmark
from couchmodel._embedded.mango.planner import Plan
from couchmodel._embedded.mango.selector import Selector, parse_path
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.designs import View
from couchmodel._embedded.views.reader import HIGHEST_ID, Place, Row, Span, check_index, read_rows
from couchmodel._wire.messages import decode, encode

__all__ = ["Batch", "Position", "Search", "Source", "Statistics", "pack_bookmark", "read_batch", "unpack_bookmark"]

BATCH_BYTES: Final = 524_288
BATCH_ROWS: Final = 1000
BATCH_EXAMINED: Final = 5000
"""Rows that are looked at before others get a turn on the reading thread."""

INLINE_BYTES: Final = 131_072
"""JSON that is parsed in the event loop."""


class Position(NamedTuple):
    """Where a page ends: the key of the index's last row as JSON, None without an index, and the document's id."""

    key: bytes | None
    id: str


@dataclass(slots=True, frozen=True)
class Source:
    """The view of an index: the number is None where the index is yet to be built, so that it has no rows."""

    number: int | None
    view: View


@dataclass(slots=True, frozen=True)
class Search:
    """A query that is planned, of all documents or of a ``partition``.

    Without a ``source`` the documents are read by their ids.
    ``quorum`` says that documents are wanted to be read from several copies, which shows in how they are counted.
    ``covered`` says that the keys of the index tell everything. ``counts`` says that the rows are wanted to be counted
    as CouchDB counts them, which goes on to the first document behind the last one that is returned. ``seconds`` are
    those that it may take to its next document.
    """

    database: int
    selector: Selector
    plan: Plan
    source: Source | None
    partition: str
    projection: Projection
    limit: int
    skip: int
    after: Position | None
    conflicts: bool
    quorum: bool
    covered: bool
    counts: bool
    seconds: float = turns.TIMEOUT

    def members(self) -> frozenset[str] | None:
        """The members of a document that it looks into, or shows by themselves; None where they may be any."""
        members = self.selector.members()
        return None if members is None else members | self.projection.members()


@dataclass(slots=True)
class Statistics:
    """What a search has looked at.

    CouchDB's counts come along with the rows that its shards send. With a design document, which it leaves out only
    then, it also drops what was counted since the row before.
    """

    keys: int = 0
    documents: int = 0
    returned: int = 0
    kept: tuple[int, int] = (0, 0)

    def count(self, entry: "_Entry") -> None:
        """A row of the range that was looked at."""
        self.keys += 1
        self.documents += entry.is_read

    def keep(self) -> None:
        """A row is sent, and everything that was counted."""
        self.kept = self.keys, self.documents

    def forget(self) -> None:
        """What was counted is dropped, as far as it was not kept."""
        self.keys, self.documents = self.kept


@dataclass(slots=True)
class Batch:
    """Some documents, and what is left of the search; None at its end."""

    rows: list[bytes] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)
    last: Position | None = None
    rest: Search | None = None
    size: int = 0
    parsed: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def is_full(self) -> bool:
        """Whether it is time to hand it over."""
        return (
            self.size > BATCH_BYTES
            or len(self.rows) >= BATCH_ROWS
            or self.statistics.keys >= BATCH_EXAMINED
            or self.seconds > TURN
        )

    @property
    def seconds(self) -> float:
        """The time that it has taken."""
        return time.monotonic() - self.started

    def add(self, row: bytes) -> None:
        """Put in a document."""
        self.rows.append(row)
        self.size += len(row)
        self.statistics.returned += 1


def read_batch(search: Search, connection: Connection) -> Batch:
    """The next documents.

    Raises:
        NotFoundError: the database has been dropped.
        ServerError: the query takes too long.
    """
    check_database(search.database, connection)
    batch = Batch()
    with bounded(search.seconds):
        rest = _fill(batch, search, connection)
    # A long answer may take long as long as it goes on.
    seconds = turns.TIMEOUT if batch.rows else search.seconds - batch.seconds
    batch.rest = rest and replace(rest, seconds=seconds)
    return batch


def _fill(batch: Batch, search: Search, connection: Connection) -> Search | None:
    """Put documents into a batch, and say what is left of the search."""
    skip, limit = search.skip, search.limit
    for entry in _entries(connection, search, batch):
        check_time()
        matches = entry.document is not None and search.selector.matches(entry.document)
        batch.statistics.count(entry)
        if matches or search.quorum:
            if entry.is_design:
                batch.statistics.forget()
                continue
            batch.statistics.keep()
        if matches:
            batch.last = entry.position if limit else batch.last
            if skip:
                skip -= 1
            elif limit:
                limit -= 1
                batch.add(entry.shown(search))
            else:
                return None
        if limit == 0 and not search.counts:
            return None
        if batch.is_full:
            return replace(search, skip=skip, limit=limit, after=entry.position)
    return None


# --- what lies in the range


@dataclass(slots=True)
class _Entry:
    """A row in the plan's range: the document as the selector sees it, None where it is gone.

    ``is_read`` says that it is the document itself and not what an index tells of it.
    """

    position: Position
    document: dict[str, Any] | None
    found: Found | None = None
    is_read: bool = False

    def dissolve(self) -> None:
        """Nobody needs the document any more."""
        if self.size > LARGE:
            dissolve(self.document)

    @property
    def size(self) -> int:
        """Bytes of the document, as far as it was read."""
        return len(self.found.body) if self.found else 0

    @property
    def is_design(self) -> bool:
        """Whether it is a design document, which no query shows."""
        return self.position.id.startswith("_design/")

    def shown(self, search: Search) -> bytes:
        """What the query wants to see of the document."""
        document = self.document or {}
        if search.projection.fields:
            return search.projection.pick_json(document, self.size)
        return document_json(self.position.id, self.found) if self.found else encode(document)


def _entries(connection: Connection, search: Search, batch: Batch) -> Iterator[_Entry]:
    if search.limit == 0 and not search.counts:
        return iter(())
    if search.source is None:
        return _by_id(connection, search, batch)
    return _by_index(connection, search, search.source, batch)


def _by_id(connection: Connection, search: Search, batch: Batch) -> Iterator[_Entry]:
    """The living documents in the plan's range of ids, from where the page before has ended."""
    condition, values = _id_condition(search)
    order = "DESC" if search.plan.descending else "ASC"
    rows = connection.execute(
        "SELECT id, rev, deleted, attachments, body FROM document WHERE database = ? AND NOT deleted"
        f"{condition} ORDER BY id {order}",
        (search.database, *values),
    )
    for id, *found in rows:
        entry = _read(connection, search, Position(None, id), Found(*found), batch)
        try:
            yield entry
        finally:
            entry.dissolve()


def _id_condition(search: Search) -> tuple[str, list[str]]:
    bounds = [(operator, id) for operator, id in _id_bounds(search) if isinstance(id, str)]
    return "".join(f" AND id {operator} ?" for operator, _ in bounds), [id for _, id in bounds]


def _id_bounds(search: Search) -> Iterator[tuple[str, Any]]:
    low, high = search.plan.id_bounds()
    if low is not None:
        yield ">=", low[0]
    if high is not None:
        # An id is higher than everything that is no string.
        yield "<=", high[0] if isinstance(high[0], str) else ""
    if search.partition:
        yield ">=", f"{search.partition}:"
        yield "<", f"{search.partition};"
    if search.after is not None:
        yield "<" if search.plan.descending else ">", search.after.id


def _by_index(connection: Connection, search: Search, source: Source, batch: Batch) -> Iterator[_Entry]:
    """The rows in the plan's range of the index, likewise."""
    if source.number is None:
        return
    check_index(search.database, source.number, connection)
    columns = [parse_path(column) for column in search.plan.index.columns]
    after = _place_after(search, source.view)
    for row in read_rows(source.number, source.view.place, _span(search, source.view), connection, after=after):
        position = Position(row.emitted, row.id)
        if search.covered:
            yield _Entry(position, _told(columns, row))
        else:
            entry = _read(connection, search, position, winner(search.database, row.id, connection), batch)
            try:
                yield entry
            finally:
                entry.dissolve()


def _span(search: Search, view: View) -> Span:
    low, high = search.plan.key_bounds(view.order)
    start, end = (view.prefix + low, ""), (view.prefix + high, HIGHEST_ID)
    return Span(end, start, descending=True) if search.plan.descending else Span(start, end)


def _place_after(search: Search, view: View) -> Place | None:
    if search.after is None:
        return None
    key, id = search.after
    if key is None:
        raise bad_bookmark(pack_bookmark(search.after))
    return Place(view.key_of(decode(key)), id, 0)


# --- documents


def _read(connection: Connection, search: Search, position: Position, found: Found | None, batch: Batch) -> _Entry:
    if found is None or found.deleted:
        return _Entry(position, None)
    if search.conflicts:
        opened = open_winner(search.database, position.id, Wishes(conflicts=True), connection)
        return _Entry(position, _parsed(opened.text, batch, _all), is_read=True)
    document = {"_id": position.id, "_rev": found.rev, **_parsed(found.body, batch, search.members)}
    if found.attachments:
        document["_attachments"] = shown(unpack(found.attachments))
    return _Entry(position, document, found, is_read=True)


def _parsed(text: bytes, batch: Batch, wanted: Callable[[], frozenset[str] | None]) -> dict[str, Any]:
    batch.parsed += len(text)
    if batch.parsed > INLINE_BYTES:
        leave_event_loop()
    return decode_stored(text, wanted)


def _all() -> None:
    """Any member may be wanted."""


def _told(columns: list[tuple[str, ...]], row: Row) -> dict[str, Any]:
    """What the row of an index tells of its document."""
    document: dict[str, Any] = {"_id": row.id}
    for path, value in zip(columns, decode(row.emitted), strict=True):
        _put(document, path, value)
    return document


def _put(document: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *parents, last = path
    inner: object = document
    for name in parents:
        inner = inner.setdefault(name, {}) if isinstance(inner, dict) else None
    if isinstance(inner, dict):  # else another column has told it already, with all around it
        inner[last] = value


# --- bookmarks


def pack_bookmark(position: Position) -> str:
    """A position as the client carries it around."""
    text = b"[%b,%b]" % (position.key or b"null", to_json(position.id))
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def unpack_bookmark(text: str) -> Position | None:
    """The position that a client has brought back; None for the beginning. Raises BadRequestError."""
    if text in ("", "nil"):
        return None
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        key, id = decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error):
        raise bad_bookmark(text) from None
    if not isinstance(id, str) or not isinstance(key, list | None):
        raise bad_bookmark(text)
    return Position(None if key is None else encode(key), id)
