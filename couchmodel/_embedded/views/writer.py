"""Begin indexes, and write their rows.

The primary key of a row is its view, its key as bytes that compare as CouchDB collates, the id of the document, and its
position among the rows of the document. The rows of an index and its update sequence are written in one transaction, so
every reader sees rows and sequence that belong together.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from couchmodel._embedded import limits
from couchmodel._embedded.rules.collation import raw_key
from couchmodel._embedded.rules.string_collation import COLLATOR
from couchmodel._embedded.storage.database_row import check_database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.changes import ChangeBatch, ChangedDocument
from couchmodel._embedded.views.counts import update_blocks
from couchmodel._embedded.views.designs import Design, partition_prefix
from couchmodel._embedded.views.emitted import Rows
from couchmodel._wire.messages import decode, encode

__all__ = [
    "DocumentRows",
    "begin_index",
    "discard_rows",
    "drop_stale_indexes",
    "row_tuples",
    "write_rows",
]


def begin_index(connection: Connection, database_id: int, design: Design) -> None:
    """Create an empty index if it does not exist. An index with sort keys of another collator version is dropped.

    Raises NotFoundError if the database has been dropped.
    """
    check_database(connection, database_id)
    connection.execute(
        "UPDATE view_index SET database = NULL WHERE database = ? AND signature = ? AND collator <> ?",
        (database_id, design.signature, COLLATOR),
    )
    connection.execute(
        "INSERT INTO view_index (database, signature, collator, totals) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (database_id, design.signature, COLLATOR, encode([0] * len(design.views))),
    )


def drop_stale_indexes(connection: Connection, database_id: int, signatures: Iterable[str]) -> None:
    """Drop all indexes of a database except those with these signatures. Their rows are removed later."""
    kept = encode(list(signatures)).decode()
    connection.execute(
        "UPDATE view_index SET database = NULL"
        " WHERE database = ? AND signature NOT IN (SELECT value FROM json_each(?))",
        (database_id, kept),
    )


# --- writing

_HEAD: Final = struct.Struct(">HII")
"""The header of a packed place: the view, the position, and the length of the key that follows."""


class DocumentRows(NamedTuple):
    """The rows of a document in all views, ready to be stored.

    ``places`` are the packed primary keys of the rows. They are stored with the document, so that its rows can be found
    and removed later.
    """

    number: int
    rows: list[tuple[int, bytes, str, int, bytes, bytes]]
    places: bytes


def row_tuples(design: Design, changed: ChangedDocument, mapped: Sequence[Rows]) -> DocumentRows:
    """Return the rows that a document has emitted as they are stored.

    Rows with equal keys are ordered as CouchDB orders them: see ``_erlang_order``.
    """
    rows: list[tuple[int, bytes, str, int, bytes, bytes]] = []
    places: list[bytes] = []
    prefix = partition_prefix(changed.id.partition(":")[0]) if design.partitioned else b""
    for view, emitted in zip(design.views, mapped, strict=True):
        place = view.place
        is_ordered = len(emitted) < 2 or len({key for key, _, _ in emitted}) == len(emitted)
        ordered = emitted if is_ordered else sorted(emitted, key=_erlang_order)
        for position, (key, text, value) in enumerate(ordered):
            stored_key = prefix + key
            rows.append((place, stored_key, changed.id, position, text, value))
            # The id is not packed: it is that of the document.
            places += (_HEAD.pack(place, position, len(stored_key)), stored_key)
    return DocumentRows(changed.number, rows, b"".join(places))


def _erlang_order(row: tuple[bytes, bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the sort key for rows of one document with equal keys: key and value in Erlang's term order."""
    _, key, value = row
    return raw_key(decode(key)), raw_key(decode(value))


def _unpack_places(packed: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield the view, the key and the position of each packed place."""
    at = 0
    while at < len(packed):
        view, position, length = _HEAD.unpack_from(packed, at)
        begin = at + _HEAD.size
        at = begin + length
        yield view, packed[begin:at], position


def write_rows(connection: Connection, database_id: int, changes: ChangeBatch, written: Sequence[DocumentRows]) -> bool:
    """Replace the rows of changed documents. Return False if the batch is out of date, and then write nothing.

    It is out of date if another build has advanced the index in the meantime, or if documents were purged, whose rows
    would come back.
    """
    state = changes.state
    row = connection.execute(
        "SELECT number, totals FROM view_index WHERE number = ? AND database = ? AND update_seq = ?"
        " AND (SELECT purge_seq FROM database WHERE number = ? AND name IS NOT NULL) = ?",
        (state.number, database_id, state.update_seq, database_id, state.purge_seq),
    ).fetchone()
    if row is None:
        return False
    index, totals = row
    removed = _remove(connection, index, {document.number: document.id for document in changes.documents})
    inserted = _insert(connection, index, written)
    _update_counts(connection, index, totals, removed, inserted)
    connection.execute("UPDATE view_index SET update_seq = ? WHERE number = ?", (changes.upto, index))
    return True


def discard_rows(connection: Connection, database_id: int, number: int, id: str) -> None:
    """Remove the rows of a purged document from all indexes of its database."""
    indexes = connection.execute("SELECT number, totals FROM view_index WHERE database = ?", (database_id,)).fetchall()
    for index, totals in indexes:
        _update_counts(connection, index, totals, _remove(connection, index, {number: id}), {})


Places: TypeAlias = Mapping[int, Sequence[tuple[bytes, str]]]
"""The keys and ids of rows, by view."""


def _update_counts(connection: Connection, index: int, totals: bytes, removed: Places, inserted: Places) -> None:
    """Update the row counts of an index after rows were removed and inserted."""
    if removed or inserted:
        summed: list[int] = decode(totals)
        for view in {*removed, *inserted}:
            update_blocks(connection, (index, view), removed.get(view, ()), inserted.get(view, ()))
            summed[view] += len(inserted.get(view, ())) - len(removed.get(view, ()))
        connection.execute("UPDATE view_index SET totals = ? WHERE number = ?", (encode(summed), index))


def _remove(connection: Connection, index: int, documents: Mapping[int, str]) -> Places:
    """Remove the rows of documents, which are ids by number. Return the places of the removed rows."""
    # As one JSON array, because SQLite limits the number of parameters of a statement.
    numbers = encode(list(documents)).decode()
    found = connection.execute(
        "SELECT document, rows FROM view_document"
        " WHERE view_index = ? AND document IN (SELECT value FROM json_each(?))",
        (index, numbers),
    ).fetchall()
    places = [
        (view, key, documents[number], position)
        for number, packed in found
        for view, key, position in _unpack_places(packed)
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


def _insert(connection: Connection, index: int, written: Iterable[DocumentRows]) -> Places:
    """Insert the rows of documents. Return their places."""
    rows = [row for document in written for row in document.rows]
    rows.sort()  # inserts in the order of the primary key touch fewer pages
    _insert_many(connection, "view_row", index, rows)
    places = [(document.number, document.places) for document in written if document.rows]
    _insert_many(connection, "view_document", index, places)
    return _by_view(rows)


def _by_view(rows: Iterable[tuple[Any, ...]]) -> Places:
    places: defaultdict[int, list[tuple[bytes, str]]] = defaultdict(list)
    for row in rows:
        places[row[0]].append(row[1:3])
    return places


def _insert_many(connection: Connection, table: str, index: int, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows of an index into a table, many by one statement, since each statement waits for the GIL."""
    whole = len(rows) - len(rows) % limits.BUILD_ROWS
    for start in range(0, whole, limits.BUILD_ROWS):
        values = chain.from_iterable(rows[start : start + limits.BUILD_ROWS])
        connection.execute(_insert_statement(table, len(rows[0]), limits.BUILD_ROWS), (index, *values))
    if whole < len(rows):
        one = _insert_statement(table, len(rows[0]), 1)
        connection.executemany(one, ((index, *row) for row in rows[whole:]))


@cache
def _insert_statement(table: str, columns: int, rows: int) -> str:
    row = f"(?1, {', '.join('?' * columns)})"  # the first parameter is the index, in every row
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"
