"""The check of indexes: whether their rows agree with the documents.

The rows of each document are made again and compared with the stored rows. Documents that have changed since the index
was written are left out: the next query indexes them.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple

from couchmodel._embedded.documents.reader import IS_DESIGN
from couchmodel._embedded.rules.string_collation import COLLATOR
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.changes import ChangedDocument, IndexState, read_changes
from couchmodel._embedded.views.counts import count_between
from couchmodel._embedded.views.designs import Design, parse_design
from couchmodel._embedded.views.map import Mapper, open_mapper
from couchmodel._embedded.views.writer import DocumentRows, row_tuples
from couchmodel._wire.messages import decode
from couchmodel.errors import ResponseError

__all__ = ["Fault", "check_indexes"]


class Fault(NamedTuple):
    """A fault in an index. ``database`` and ``design`` are empty if the rows belong to no index of a database."""

    database: str
    design: str
    what: str


class _Index(NamedTuple):
    """The row of an index, with columns of its database."""

    number: int
    signature: str
    update_seq: int
    totals: list[int]
    database_id: int
    name: str
    database_seq: int
    partitioned: int


def check_indexes(connection: Connection) -> Iterator[Fault]:
    """Yield the faults in all indexes of a store."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'view_index'").fetchone() is None:
        return  # the first version of the file had no indexes
    for what, sql in _ORPHANS.items():
        for (number,) in connection.execute(sql):
            yield Fault("", "", what.format(number))
    for number, signature, seq, totals, *database in connection.execute(_INDEXES, (COLLATOR,)).fetchall():
        index = _Index(number, signature, seq, decode(totals), *database)
        design = _find_design(connection, index)
        for what in _index_faults(connection, index, design):
            yield Fault(index.name, design.id if design else f"index {index.number}", what)


_ORPHANS: Final = {
    "an index (number {}) of no database": (
        "SELECT number FROM view_index WHERE database IS NOT NULL AND database NOT IN (SELECT number FROM database)"
    ),
    "rows of an index (number {}) that is not there": (
        "SELECT DISTINCT view_index FROM view_row WHERE view_index NOT IN (SELECT number FROM view_index)"
    ),
    "blocks of an index (number {}) that is not there": (
        "SELECT DISTINCT view_index FROM view_block WHERE view_index NOT IN (SELECT number FROM view_index)"
    ),
    "documents of an index (number {}) that is not there": (
        "SELECT DISTINCT view_index FROM view_document WHERE view_index NOT IN (SELECT number FROM view_index)"
    ),
    "a purge of a database (number {}) that is not there": (
        "SELECT DISTINCT database FROM purge WHERE database NOT IN (SELECT number FROM database)"
    ),
}

_INDEXES: Final = """
SELECT view_index.number, signature, view_index.update_seq, totals, database, name, database.update_seq, partitioned
FROM view_index JOIN database ON database.number = view_index.database WHERE name IS NOT NULL AND collator = ?
"""


def _find_design(connection: Connection, index: _Index) -> Design | None:
    """Return the design document of an index; None if it is gone."""
    rows = connection.execute(
        f"SELECT id, body FROM document WHERE database = ? AND {IS_DESIGN} AND NOT deleted",
        (index.database_id,),
    )
    designs = (parse_design(id, decode(body), partitioned=bool(index.partitioned)) for id, body in rows)
    return next((design for design in designs if design.signature == index.signature), None)


def _index_faults(connection: Connection, index: _Index, design: Design | None) -> Iterator[str]:
    if index.update_seq > index.database_seq:
        yield f"it has changes up to number {index.update_seq}, and its database up to {index.database_seq}"
    for view, stated in enumerate(index.totals):
        found = connection.execute(
            "SELECT count(*) FROM view_row WHERE view_index = ? AND view = ?", (index.number, view)
        ).fetchone()[0]
        if stated != found:
            yield f"its view number {view} counts {stated} rows, and has {found}"
        in_blocks = count_between(connection, index.number, view, None, None, ends=(True, True))
        if in_blocks != found:
            yield f"the blocks of its view number {view} count {in_blocks} rows, and it has {found}"
    gone = connection.execute(_GONE, (index.number,)).fetchone()[0]
    if gone:
        yield f"it has rows of {gone} documents that are not there"
    if design is not None:
        yield from _row_faults(connection, index, design)


_GONE: Final = (
    "SELECT count(*) FROM view_document WHERE view_index = ? AND document NOT IN (SELECT number FROM document)"
)


def _row_faults(connection: Connection, index: _Index, design: Design) -> Iterator[str]:
    try:
        with closing(open_mapper(design)) as mapper:
            for id, written in _rebuild_rows(connection, index, design, mapper):
                if not _is_stored(connection, index, written):
                    yield f"its rows of the document {id} are not those that it gives"
    except ResponseError:
        return  # the rows cannot be made: a function does not compile, or JavaScript is not installed


def _rebuild_rows(
    connection: Connection, index: _Index, design: Design, mapper: Mapper
) -> Iterator[tuple[str, DocumentRows]]:
    """Map again each document that has not changed since it was indexed. Yield its id and its rows."""
    state, more = IndexState(index.number, 0, index.totals, index.database_seq, 0), True
    while more and state.update_seq < index.update_seq:
        changes = read_changes(connection, index.database_id, design, state)
        state, more = state._replace(update_seq=changes.upto), changes.more
        documents = [document for document in changes.documents if _is_indexed(connection, index, document)]
        # The documents are mapped as the builder maps them, so equal rows mean an intact index.
        for document, rows in zip(documents, mapper.map(documents), strict=True):
            yield document.id, row_tuples(design, document, rows)


def _is_indexed(connection: Connection, index: _Index, document: ChangedDocument) -> bool:
    (seq,) = connection.execute("SELECT seq FROM document WHERE number = ?", (document.number,)).fetchone()
    return document.body is not None and seq <= index.update_seq


def _is_stored(connection: Connection, index: _Index, written: DocumentRows) -> bool:
    places = connection.execute(
        "SELECT rows FROM view_document WHERE view_index = ? AND document = ?", (index.number, written.number)
    ).fetchone()
    if (places[0] if places else b"") != written.places:
        return False
    return all(connection.execute(_ROW, (index.number, *row[:4])).fetchone() == row[4:] for row in written.rows)


_ROW: Final = (
    "SELECT emitted, value FROM view_row WHERE view_index = ? AND view = ? AND key = ? AND id = ? AND position = ?"
)
