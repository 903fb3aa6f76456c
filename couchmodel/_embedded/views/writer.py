"""The rows of indexes as they are stored: put in for the documents that have changed, and taken out.

A row's place is its view, its key as bytes that sort as CouchDB sorts, the document's id, and its position among what
the document gave the view. What an index says, and up to which change of the database, is written in one transaction,
so it is right whenever it is looked at.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from couchmodel._embedded.documents.reader import Found, check_database, document_json
from couchmodel._embedded.rules.collation import COLLATOR, raw_key
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.counts import record
from couchmodel._embedded.views.designs import Design, partition_prefix
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import NotFoundError

__all__ = [
    "Changed",
    "Changes",
    "State",
    "Written",
    "begin_index",
    "discard_rows",
    "drop_stale_indexes",
    "read_changes",
    "read_state",
    "row_tuples",
    "write_rows",
]

BATCH: Final = 400
BATCH_BYTES: Final = 1_048_576

AT_ONCE: Final = 100
"""Rows that are put into a table by one statement."""


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
    removed = _remove(connection, index, {document.number: document.id for document in changes.documents})
    inserted = _insert(connection, index, written)
    _record(connection, index, totals, removed, inserted)
    connection.execute("UPDATE view_index SET update_seq = ? WHERE number = ?", (changes.upto, index))
    return True


def discard_rows(database: int, number: int, id: str, connection: Connection) -> None:
    """Remove the rows of a document that is purged from the indexes of its database."""
    indexes = connection.execute("SELECT number, totals FROM view_index WHERE database = ?", (database,)).fetchall()
    for index, totals in indexes:
        _record(connection, index, totals, _remove(connection, index, {number: id}), {})


Places: TypeAlias = Mapping[int, Sequence[tuple[bytes, str]]]
"""The keys and ids of rows, for each view."""


def _record(connection: Connection, index: int, totals: bytes, removed: Places, inserted: Places) -> None:
    if removed or inserted:
        summed: list[int] = decode(totals)
        for view in {*removed, *inserted}:
            record(connection, (index, view), removed.get(view, ()), inserted.get(view, ()))
            summed[view] += len(inserted.get(view, ())) - len(removed.get(view, ()))
        connection.execute("UPDATE view_index SET totals = ? WHERE number = ?", (encode(summed), index))


def _remove(connection: Connection, index: int, documents: Mapping[int, str]) -> Places:
    """Remove the rows of documents, by number and id."""
    numbers = encode(list(documents)).decode()
    found = connection.execute(
        "SELECT document, rows FROM view_document"
        " WHERE view_index = ? AND document IN (SELECT value FROM json_each(?))",
        (index, numbers),
    ).fetchall()
    places = [
        (view, key, documents[number], position) for number, packed in found for view, key, position in _places(packed)
    ]
    connection.executemany(
        "DELETE FROM view_row WHERE view_index = ? AND view = ? AND key = ? AND id = ? AND position = ?",
        ((index, *place) for place in places),
    )
    if found:
        connection.execute(
            "DELETE FROM view_document WHERE view_index = ? AND document IN (SELECT value FROM json_each(?))",
            (index, numbers),
        )
    return _by_view(places)


def _insert(connection: Connection, index: int, written: Iterable[Written]) -> Places:
    rows = [row for document in written for row in document.rows]
    rows.sort()  # neighbours in the table are cheaper to write together
    _insert_many(connection, "view_row", index, rows)
    listed = [(document.number, document.places) for document in written if document.rows]
    _insert_many(connection, "view_document", index, listed)
    return _by_view(rows)


def _by_view(rows: Iterable[tuple[Any, ...]]) -> Places:
    places: defaultdict[int, list[tuple[bytes, str]]] = defaultdict(list)
    for view, key, id, *_ in rows:
        places[view].append((key, id))
    return places


def _insert_many(connection: Connection, table: str, index: int, rows: Sequence[tuple[object, ...]]) -> None:
    """Put rows of an index into a table, many by one statement: each statement is a wait for Python's lock."""
    whole = len(rows) - len(rows) % AT_ONCE
    for start in range(0, whole, AT_ONCE):
        values = chain.from_iterable((index, *row) for row in rows[start : start + AT_ONCE])
        connection.execute(_insertion(table, len(rows[0]), AT_ONCE), tuple(values))
    if whole < len(rows):
        one = _insertion(table, len(rows[0]), 1)
        connection.executemany(one, ((index, *row) for row in rows[whole:]))


@cache
def _insertion(table: str, columns: int, rows: int) -> str:
    row = f"(?, {', '.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"
