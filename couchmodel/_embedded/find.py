"""``_find``: the documents that a selector matches, by the range of ids or through the order of an index.

Without an index the documents are read in the order of their ids, in batches. An index gives its order to the result:
the documents that belong to it are gathered by their keys first, as many as are wanted, and then read in batches.
"""

import base64
import binascii
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from couchmodel._embedded.attachments import shown, unpack
from couchmodel._embedded.collation import sort_key
from couchmodel._embedded.documents import Found, Wishes, check_database, document_json, open_winner
from couchmodel._embedded.planner import Plan
from couchmodel._embedded.projection import Projection
from couchmodel._embedded.queries import bad_bookmark
from couchmodel._embedded.selector import Absent, Selector, get_path, parse_path
from couchmodel._embedded.sqlite import Connection
from couchmodel._wire.messages import decode, encode

__all__ = ["Batch", "Position", "Search", "Statistics", "pack_bookmark", "read_batch", "unpack_bookmark"]

BATCH_BYTES: Final = 524_288
BATCH_ROWS: Final = 1000
BATCH_EXAMINED: Final = 5000
"""Documents that are looked at before others get a turn on the reading thread."""


class Position(NamedTuple):
    """Where a page ends: the values of the index's columns in the last document, None without an index, and its id."""

    values: list[Any] | None
    id: str


@dataclass(slots=True, frozen=True)
class Search:
    """A query that is planned. ``queue`` are the documents that an index has found and that are yet to be read."""

    database: int
    selector: Selector
    plan: Plan
    projection: Projection
    limit: int
    skip: int
    after: Position | None
    conflicts: bool
    queue: tuple["_Entry", ...] | None = None


@dataclass(slots=True)
class Statistics:
    """What a search has looked at."""

    keys: int = 0
    documents: int = 0
    returned: int = 0


@dataclass(slots=True)
class Batch:
    """Some documents, and what is left of the search; None at its end."""

    rows: list[bytes] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)
    last: Position | None = None
    rest: Search | None = None
    size: int = 0

    def add(self, row: bytes, position: Position) -> bool:
        """Whether the batch is full with this row."""
        self.rows.append(row)
        self.size += len(row)
        self.last = position
        self.statistics.returned += 1
        return self.size > BATCH_BYTES or len(self.rows) >= BATCH_ROWS


def read_batch(search: Search, connection: Connection) -> Batch:
    """The next documents. Raises NotFoundError where the database has been dropped."""
    check_database(search.database, connection)
    if search.plan.index.design is None:
        return _batch_by_id(connection, search)
    if search.queue is None:
        return _first_by_index(connection, search)
    return _batch_of_queue(connection, search, Batch())


def pack_bookmark(position: Position) -> str:
    """A position as the client carries it around."""
    return base64.urlsafe_b64encode(encode(position)).rstrip(b"=").decode()


def unpack_bookmark(text: str) -> Position | None:
    """The position that a client has brought back; None for the beginning. Raises BadRequestError."""
    if text in ("", "nil"):
        return None
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        values, id = decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error):
        raise bad_bookmark(text) from None
    if not isinstance(id, str) or not isinstance(values, list | None):
        raise bad_bookmark(text)
    return Position(values, id)


# --- by id


def _batch_by_id(connection: Connection, search: Search) -> Batch:
    batch = Batch()
    skip, limit = search.skip, search.limit
    if limit == 0:
        return batch
    for id, found in _range(connection, search):
        batch.statistics.keys += 1
        batch.statistics.documents += 1
        full = batch.statistics.documents >= BATCH_EXAMINED
        document = _matching(connection, search, id, found)
        if document is not None and not id.startswith("_design/"):
            if skip:
                skip -= 1
            else:
                limit -= 1
                full |= batch.add(_row(search, id, found, document), Position(None, id))
        if limit == 0:
            break
        if full:
            batch.rest = replace(search, skip=skip, limit=limit, after=Position(None, id))
            break
    return batch


def _range(connection: Connection, search: Search) -> Iterator[tuple[str, Found]]:
    """The living documents in the plan's range of ids, from where the page before has ended."""
    backwards = search.plan.descending
    conditions, values = [], list[object]()
    low, high = search.plan.id_bounds()
    for bound, operator in ((low, ">="), (high, "<=")):
        if bound is None:
            continue
        if isinstance(bound[0], str):
            conditions.append(f"AND id {operator} ?")
            values.append(bound[0])
        elif operator == "<=":
            return  # an id is higher than everything that is no string
    if search.after is not None:
        conditions.append(f"AND id {'<' if backwards else '>'} ?")
        values.append(search.after.id)
    rows = connection.execute(
        "SELECT id, rev, deleted, attachments, body FROM document WHERE database = ? AND NOT deleted"
        f" {' '.join(conditions)} ORDER BY id {'DESC' if backwards else 'ASC'}",
        (search.database, *values),
    )
    for id, *found in rows:
        yield id, Found(*found)


# --- through an index


class _Entry(NamedTuple):
    """A row of an index: the sort keys of its columns, and the document."""

    key: bytes
    id: str


def _first_by_index(connection: Connection, search: Search) -> Batch:
    batch = Batch()
    wanted = search.skip + search.limit
    missed: list[_Entry] = []
    choose = heapq.nlargest if search.plan.descending else heapq.nsmallest
    # One more than is wanted tells where CouchDB would have stopped to look.
    found = choose(wanted + 1, _entries(connection, search, missed))
    batch.statistics.keys = batch.statistics.documents = len(found) + _passed(search, missed, found[wanted:])
    return _batch_of_queue(connection, replace(search, queue=tuple(found[search.skip : wanted])), batch)


def _passed(search: Search, missed: Iterable[_Entry], stop: list[_Entry]) -> int:
    """How many rows that the selector does not match lie before the one where the search ends."""
    if not stop:
        return sum(1 for _ in missed)
    if search.plan.descending:
        return sum(entry > stop[0] for entry in missed)
    return sum(entry < stop[0] for entry in missed)


def _entries(connection: Connection, search: Search, missed: list[_Entry]) -> Iterator[_Entry]:
    """The rows of the index that the selector matches; what lies in the range besides goes to ``missed``."""
    index = search.plan.index
    columns = [parse_path(column) for column in index.columns]
    low, high = search.plan.key_bounds()
    after = _entry_after(search, columns)
    whole = replace(search, after=None, plan=replace(search.plan, ranges=(), descending=False))
    for id, found in _range(connection, whole):
        if id.startswith("_design/"):
            continue
        document = _document(connection, search, id, found)
        key = _key(document, columns)
        if key is None or not low <= key <= high:
            continue
        if index.partial is not None and not index.partial.matches(document):
            continue
        entry = _Entry(key, id)
        if after is not None and (entry >= after if search.plan.descending else entry <= after):
            continue
        if search.selector.matches(document):
            yield entry
        else:
            missed.append(entry)


def _entry_after(search: Search, columns: list[tuple[str, ...]]) -> _Entry | None:
    if search.after is None:
        return None
    values = search.after.values
    if values is None or len(values) != len(columns):
        raise bad_bookmark(pack_bookmark(search.after))
    return _Entry(b"".join(map(sort_key, values)), search.after.id)


def _key(document: Mapping[str, Any], columns: Iterable[tuple[str, ...]]) -> bytes | None:
    values = _values(document, columns)
    return None if values is None else b"".join(map(sort_key, values))


def _values(document: Mapping[str, Any], columns: Iterable[tuple[str, ...]]) -> list[Any] | None:
    values = [get_path(document, column) for column in columns]
    return None if any(isinstance(value, Absent) for value in values) else values


def _batch_of_queue(connection: Connection, search: Search, batch: Batch) -> Batch:
    queue = search.queue or ()
    columns = [parse_path(column) for column in search.plan.index.columns]
    for read, entry in enumerate(queue, 1):
        row = connection.execute(
            "SELECT rev, deleted, attachments, body FROM document WHERE database = ? AND id = ? AND NOT deleted",
            (search.database, entry.id),
        ).fetchone()
        document = row and _matching(connection, search, entry.id, Found(*row))
        if not document:
            continue  # changed since the index was read
        position = Position(_values(document, columns), entry.id)
        if batch.add(_row(search, entry.id, Found(*row), document), position) and read < len(queue):
            batch.rest = replace(search, queue=queue[read:])
            break
    return batch


# --- documents


def _matching(connection: Connection, search: Search, id: str, found: Found) -> dict[str, Any] | None:
    document = _document(connection, search, id, found)
    return document if search.selector.matches(document) else None


def _document(connection: Connection, search: Search, id: str, found: Found) -> dict[str, Any]:
    if search.conflicts:
        opened = open_winner(search.database, id, Wishes(conflicts=True), connection)
        whole: dict[str, Any] = decode(opened.text)
        return whole
    document = {"_id": id, "_rev": found.rev, **decode(found.body)}
    if found.attachments:
        document["_attachments"] = shown(unpack(found.attachments))
    return document


def _row(search: Search, id: str, found: Found, document: dict[str, Any]) -> bytes:
    if search.projection.fields:
        return encode(search.projection.pick(document))
    return encode(document) if search.conflicts else document_json(id, found)
