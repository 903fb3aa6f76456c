"""The rows of indexes as they are stored: put in for the documents that have changed, counted, and read in order.

A row's place is its view, its key as bytes that sort as CouchDB sorts, the document's id, and its position among what
the document gave the view. What an index says, and up to which change of the database, is written in one transaction,
so it is right whenever it is looked at.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from couchmodel._embedded.collation import COLLATOR, raw_key
from couchmodel._embedded.designs import Design, partition_prefix
from couchmodel._embedded.documents import Found, check_database, document_json
from couchmodel._embedded.revtree import RevTree
from couchmodel._embedded.row_counts import Position, count_between, record
from couchmodel._embedded.sqlite import Connection
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import NotFoundError

__all__ = [
    "HIGHEST_ID",
    "Changed",
    "Changes",
    "Place",
    "Row",
    "Span",
    "State",
    "Written",
    "begin_index",
    "count_rows",
    "discard_rows",
    "drop_stale_indexes",
    "measure",
    "read_changes",
    "read_rows",
    "read_state",
    "row_tuples",
    "write_rows",
]

BATCH: Final = 400
BATCH_BYTES: Final = 1_048_576

HIGHEST_ID: Final = b""
"""What comes after every id: to SQLite any BLOB is greater than any text."""


class State(NamedTuple):
    """How far an index is, and its database. ``number`` is None where there is no such index yet."""

    number: int | None
    update_seq: int
    totals: Sequence[int]
    database_seq: int
    purge_seq: int

    @property
    def is_fresh(self) -> bool:
        """Whether the index has all that is in the database."""
        return self.number is not None and self.update_seq >= self.database_seq

    def total(self, place: int) -> int:
        """How many rows a view has."""
        return self.totals[place] if self.totals else 0


def read_state(database: int, signature: str, connection: Connection) -> State:
    """How far the index of that signature is. Raises NotFoundError where the database has been dropped."""
    row = connection.execute(
        "SELECT update_seq, purge_seq FROM database WHERE number = ? AND name IS NOT NULL", (database,)
    ).fetchone()
    if row is None:
        raise NotFoundError("Database does not exist.")
    found = connection.execute(
        "SELECT number, update_seq, totals FROM view_index WHERE database = ? AND signature = ? AND collator = ?",
        (database, signature, COLLATOR),
    ).fetchone()
    if found is None:
        return State(None, 0, (), *row)
    number, update_seq, totals = found
    return State(number, update_seq, decode(totals), *row)


def begin_index(database: int, design: Design, connection: Connection) -> None:
    """Make an empty index if there is none yet; one whose keys another collator has made is dropped."""
    check_database(database, connection)
    connection.execute(
        "UPDATE view_index SET database = NULL WHERE database = ? AND signature = ? AND collator <> ?",
        (database, design.signature, COLLATOR),
    )
    connection.execute(
        "INSERT INTO view_index (database, signature, collator, totals) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (database, design.signature, COLLATOR, encode([0] * len(design.views))),
    )


def drop_stale_indexes(database: int, signatures: Iterable[str], connection: Connection) -> None:
    """Drop the indexes of a database but those of the signatures."""
    kept = encode(list(signatures)).decode()
    connection.execute(
        "UPDATE view_index SET database = NULL"
        " WHERE database = ? AND signature NOT IN (SELECT value FROM json_each(?))",
        (database, kept),
    )


# --- what has changed


class Changed(NamedTuple):
    """A document that has changed: its JSON, or None where it has no rows any more."""

    number: int
    id: str
    text: bytes | None


@dataclass(slots=True)
class Changes:
    """Documents that have changed since an index was written, up to a sequence; ``more`` says that there are others."""

    state: State
    documents: list[Changed]
    upto: int
    more: bool


def read_changes(database: int, design: Design, state: State, connection: Connection) -> Changes:
    """The documents to index next. Raises NotFoundError where the database has been dropped."""
    seen = read_state(database, design.signature, connection)
    rows = connection.execute(
        "SELECT seq, number, tree, id, rev, deleted, attachments, body FROM document"
        " WHERE database = ? AND seq > ? ORDER BY seq LIMIT ?",
        (database, state.update_seq, BATCH),
    )
    changes = Changes(state._replace(purge_seq=seen.purge_seq), [], max(seen.database_seq, state.update_seq), False)
    size = 0
    for count, (seq, number, tree, id, *found) in enumerate(rows, 1):
        changes.documents.append(_changed(design, seq, number, tree, id, Found(*found)))
        size += len(found[-1])
        if size > BATCH_BYTES or count == BATCH:
            return Changes(changes.state, changes.documents, seq, True)
        changes.upto = max(changes.upto, seq)
    return changes


def _changed(design: Design, seq: int, number: int, tree: bytes, id: str, found: Found) -> Changed:
    if found.deleted or (id.startswith("_design/") and not design.include_design):
        return Changed(number, id, None)
    return Changed(number, id, document_json(id, found, _more(design, seq, tree)))


def _more(design: Design, seq: int, tree: bytes) -> bytes:
    """What a map function sees of a document beside the document."""
    members: dict[str, object] = {}
    if tree.count(b"],[") > 2:  # more than one branch
        parsed = RevTree.from_bytes(tree)
        members |= {"_conflicts": [str(rev) for rev in parsed.conflicts]} if parsed.conflicts else {}
        deleted = parsed.deleted_conflicts
        members |= {"_deleted_conflicts": [str(rev) for rev in deleted]} if deleted else {}
    if design.local_seq:
        members["_local_seq"] = seq
    return b"," + encode(members)[1:-1] if members else b""


# --- writing

_HEAD: Final = struct.Struct(">HII")
"""The view, the position and the length of a key that follows."""


class Row(NamedTuple):
    """A row of a view: where it stands, and what it says."""

    key: bytes
    id: str
    position: int
    emitted: bytes
    value: bytes

    @property
    def place(self) -> "Place":
        """Where the row stands in its view."""
        return Place(self.key, self.id, self.position)


class Place(NamedTuple):
    """Where a row stands in its view."""

    key: bytes
    id: str
    position: int


class Written(NamedTuple):
    """A document's rows, ready to be stored: those of all views, and a list of where they stand."""

    number: int
    rows: list[tuple[int, bytes, str, int, bytes, bytes]]
    places: bytes


def row_tuples(design: Design, changed: Changed, mapped: Sequence[Sequence[tuple[Any, bytes]]]) -> Written:
    """The rows that a document has given, with the keys by which they sort."""
    rows: list[tuple[int, bytes, str, int, bytes, bytes]] = []
    places: list[bytes] = []
    prefix = partition_prefix(changed.id.partition(":")[0]) if design.partitioned else b""
    for view, emitted in zip(design.views, mapped, strict=True):
        order = view.order
        keyed = [(prefix + order(value), value, text) for value, text in emitted]
        if len(keyed) > 1 and len({key for key, _, _ in keyed}) < len(keyed):
            keyed.sort(key=_rank)
        for position, (key, value, text) in enumerate(keyed):
            rows.append((view.place, key, changed.id, position, encode(value), text))
            places += (_HEAD.pack(view.place, position, len(key)), key)
    return Written(changed.number, rows, b"".join(places))


def _rank(row: tuple[bytes, Any, bytes]) -> tuple[bytes, bytes]:
    """How a document's row stands among those of the same key: in Erlang's order, by what it has emitted."""
    _, key, text = row
    return raw_key(key), raw_key(decode(text))


def _places(packed: bytes) -> Iterator[tuple[int, bytes, int]]:
    at = 0
    while at < len(packed):
        view, position, length = _HEAD.unpack_from(packed, at)
        begin = at + _HEAD.size
        at = begin + length
        yield view, packed[begin:at], position


def write_rows(database: int, changes: Changes, written: Sequence[Written], connection: Connection) -> bool:
    """Put the rows of changed documents in the place of their old ones; False where it is too late for that.

    It is so where another build has advanced the index meanwhile, or documents were purged: their rows would come back.
    """
    state = changes.state
    row = connection.execute(
        "SELECT number, totals FROM view_index WHERE number = ? AND database = ? AND update_seq = ?"
        " AND (SELECT purge_seq FROM database WHERE number = ? AND name IS NOT NULL) = ?",
        (state.number, database, state.update_seq, database, state.purge_seq),
    ).fetchone()
    if row is None:
        return False
    index, totals = row
    done: list[_Step] = []
    for document in changes.documents:
        done += _remove(connection, index, document.number, document.id)
    done += _insert(connection, index, written)
    _record(connection, index, totals, done)
    connection.execute("UPDATE view_index SET update_seq = ? WHERE number = ?", (changes.upto, index))
    return True


def discard_rows(database: int, number: int, id: str, connection: Connection) -> None:
    """Remove the rows of a document that is purged from the indexes of its database."""
    indexes = connection.execute("SELECT number, totals FROM view_index WHERE database = ?", (database,)).fetchall()
    for index, totals in indexes:
        _record(connection, index, totals, _remove(connection, index, number, id))


_Step: TypeAlias = tuple[int, bytes, str, int]
"""What was done to a row of a view, by its key and id: 1 for one more, -1 for one less."""


def _record(connection: Connection, index: int, totals: bytes, steps: Sequence[_Step]) -> None:
    if steps:
        record(connection, index, steps)
        summed: list[int] = decode(totals)
        for view, _, _, step in steps:
            summed[view] += step
        connection.execute("UPDATE view_index SET totals = ? WHERE number = ?", (encode(summed), index))


def _remove(connection: Connection, index: int, number: int, id: str) -> list[_Step]:
    found = connection.execute(
        "SELECT rows FROM view_document WHERE view_index = ? AND document = ?", (index, number)
    ).fetchone()
    if found is None:
        return []
    places = [(index, view, key, id, position) for view, key, position in _places(found[0])]
    connection.executemany(
        "DELETE FROM view_row WHERE view_index = ? AND view = ? AND key = ? AND id = ? AND position = ?", places
    )
    connection.execute("DELETE FROM view_document WHERE view_index = ? AND document = ?", (index, number))
    return [(view, key, id, -1) for _, view, key, _, _ in places]


def _insert(connection: Connection, index: int, written: Iterable[Written]) -> list[_Step]:
    rows = [(index, *row) for document in written for row in document.rows]
    rows.sort()  # neighbours in the table are cheaper to write together
    connection.executemany("INSERT INTO view_row VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    listed = [(index, document.number, document.places) for document in written if document.rows]
    connection.executemany("INSERT INTO view_document VALUES (?, ?, ?)", listed)
    return [(view, key, id, 1) for _, view, key, id, *_ in rows]


# --- reading


class Span(NamedTuple):
    """A part of a view, in one direction: from a key and an id on, up to others. None is no bound.

    The beginning is part of it, the end only with ``includes_end``. An id is ``""``, HIGHEST_ID, or one in between.
    """

    start: Position | None = None
    end: Position | None = None
    includes_end: bool = True
    descending: bool = False

    def before(self) -> "Span | None":
        """What comes before it in its direction; None where nothing does."""
        if self.start is None:
            return None
        return Span(end=self.start, includes_end=False, descending=self.descending)


def read_rows(
    index: int,
    view: int,
    span: Span,
    connection: Connection,
    *,
    after: Place | None = None,
    limit: int = -1,
    skip: int = 0,
) -> Iterator[Row]:
    """The rows of a span in its order, from behind a place on.

    Rows of one key of one document come in the order in which they were emitted, whatever the direction.
    """
    condition, values = _condition(span, after)
    order = "key DESC, id DESC, position" if span.descending else "key, id, position"
    rows = connection.execute(
        "SELECT key, id, position, emitted, value FROM view_row WHERE view_index = ? AND view = ?"
        f"{condition} ORDER BY {order} LIMIT ? OFFSET ?",
        (index, view, *values, limit, skip),
    )
    return (Row(*row) for row in rows)


def count_rows(index: int, view: int, span: Span, connection: Connection) -> int:
    """How many rows there are in a span."""
    if span.descending:
        return count_between(connection, index, view, span.end, span.start, ends=(span.includes_end, True))
    return count_between(connection, index, view, span.start, span.end, ends=(True, span.includes_end))


def measure(index: int, connection: Connection) -> int:
    """How many bytes the rows of an index have."""
    size: int = connection.execute(
        "SELECT coalesce(sum(length(key) + length(emitted) + length(value) + length(id)), 0)"
        " FROM view_row WHERE view_index = ?",
        (index,),
    ).fetchone()[0]
    return size


def _condition(span: Span, after: Place | None) -> tuple[str, list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    low, high = ("<=", ">") if span.descending else (">=", "<")
    start = span.start if after is None else after[:2]
    if start is not None:
        conditions.append(f" AND (key, id) {low} (?, ?)")
        values += start
    if after is not None:
        conditions.append(" AND NOT (key = ? AND id = ? AND position <= ?)")
        values += after
    if span.end is not None:
        conditions.append(f" AND (key, id) {high}{'=' if span.includes_end else ''} (?, ?)")
        values += span.end
    return "".join(conditions), values
