"""The rows of ``_all_docs``, ``_design_docs`` and ``_local_docs``: documents in the order of their ids' bytes.

A result is read in batches, each from where the one before ended, so that memory is bounded by the batch. The database
may change between two batches: a row shows its document as it is when the batch is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.documents.reader import (
    DEFAULT_OPTIONS,
    ReadOptions,
    StoredRevision,
    document_json,
    open_winner,
)
from couchmodel._embedded.storage.database_row import check_database, read_row
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.params import NOT_GIVEN, validate_listing
from couchmodel._embedded.views.params import ViewQuery as Request
from couchmodel._wire.messages import encode
from couchmodel.errors import NotFoundError

__all__ = [
    "ALL",
    "DESIGN",
    "LOCAL",
    "Batch",
    "Query",
    "Space",
    "first_batch",
    "next_batch",
    "parse_query",
]


class Space(NamedTuple):
    """The documents that an endpoint lists: those with ``low <= id < high``, or the local documents.

    ``high`` is None for all documents.
    """

    low: str = ""
    high: str | None = None
    local: bool = False


ALL: Final = Space()
DESIGN: Final = Space("_design/", "_design0")
LOCAL: Final = Space(local=True)


@dataclass(slots=True, frozen=True)
class Query:
    """A query of ``_all_docs``. Bounds may be any JSON value; ``after`` is the last id of the batch before."""

    start: Any = None
    has_start: bool = False
    end: Any = None
    has_end: bool = False
    after: str | None = None
    inclusive_end: bool = True
    keys: Sequence[Any] | None = None
    limit: int | None = None
    skip: int = 0
    descending: bool = False
    include_docs: bool = False
    update_seq: bool = False
    options: ReadOptions = DEFAULT_OPTIONS

    def within(self, low: str, high: str) -> "Query":
        """Return the query narrowed to the ids with ``low <= id < high``."""
        if self.descending:
            start, end = _lower(self.start, high, given=self.has_start), _higher(self.end, low)
        else:
            start, end = _higher(self.start, low), _lower(self.end, high, given=self.has_end)
        return replace(self, start=start, has_start=True, end=end, has_end=True)


def _higher(bound: Any, limit: str) -> str:
    return max(bound, limit) if isinstance(bound, str) else limit


def _lower(bound: Any, limit: str, *, given: bool) -> Any:
    if isinstance(bound, str):
        return min(bound, limit)
    return bound if given else limit  # every other value comes before every string


class Batch(NamedTuple):
    """Some rows, and the query for the rows that follow; ``rest`` is None after the last row."""

    rows: list[bytes]
    rest: Query | None


class First(NamedTuple):
    """The first batch, and the text of the answer before its rows."""

    head: bytes
    batch: Batch


def parse_query(request: Request) -> Query:
    """Make the query for rows from the parsed parameters. Raises BadRequestError."""
    validate_listing(request)
    keys = tuple(request.keys) if request.has_keys else None
    options = ReadOptions(
        conflicts=bool(request.conflicts),
        attachments=request.attachments,
        att_encoding_info=request.att_encoding_info,
    )
    # CouchDB takes `startkey_docid` and `endkey_docid`, which are meant for views, if the key is not given.
    start = request.start_id or NOT_GIVEN if request.start is NOT_GIVEN else request.start
    end = request.end_id or NOT_GIVEN if request.end is NOT_GIVEN else request.end
    return Query(
        start=start,
        has_start=start is not NOT_GIVEN,
        end=end,
        has_end=end is not NOT_GIVEN,
        inclusive_end=request.inclusive_end,
        # CouchDB reverses the keys themselves.
        keys=keys[::-1] if keys and request.descending else keys,
        limit=request.limit,
        skip=request.skip,
        descending=request.descending,
        include_docs=request.include_docs,
        update_seq=request.update_seq,
        options=options,
    )


def first_batch(connection: Connection, database_id: int, space: Space, query: Query) -> First:
    """Read the head of the answer, with the number of rows and the offset, and the first batch.

    Raises NotFoundError if the database was dropped.
    """
    head = _read_head(connection, database_id, space, query)
    return First(head, next_batch(connection, database_id, space, query))


def next_batch(connection: Connection, database_id: int, space: Space, query: Query) -> Batch:
    """Read the next rows. Raises NotFoundError if the database was dropped."""
    check_database(connection, database_id)
    if query.keys is not None:
        return _read_keys(connection, database_id, space, query)
    rows: list[bytes] = []
    size = 0
    for id, row in _read_range(connection, database_id, space, query):
        rows.append(row)
        size += len(row)
        if size > limits.BATCH_BYTES or len(rows) >= limits.BATCH_ROWS:
            return Batch(rows, _rest_after(query, id, len(rows)))
    return Batch(rows, None)


# --- ranges


def _read_range(connection: Connection, database_id: int, space: Space, query: Query) -> Iterator[tuple[str, bytes]]:
    bounds = _id_condition(space, query)
    if bounds is None:
        return
    condition, values = bounds
    order = "DESC" if query.descending else "ASC"
    limit = -1 if query.limit is None else query.limit
    sql = f"{_SOURCES[space.local]} {condition} ORDER BY id {order} LIMIT ? OFFSET ?"
    for id, *found in connection.execute(sql, (database_id, *values, limit, query.skip)):
        yield id, _row_json(connection, database_id, id, StoredRevision(*found), query)


_SOURCES: Final = {
    False: "SELECT id, rev, deleted, attachments, body FROM document WHERE database = ? AND NOT deleted",
    True: "SELECT id, '0-' || rev, 0, NULL, body FROM local_document WHERE database = ?",
}


def _id_condition(space: Space, query: Query) -> tuple[str, list[str]] | None:
    """Return the SQL condition on the id and its values, or None if no id fulfils it.

    CouchDB compares bounds in Erlang's order: every value of another type sorts before every string. A lower bound that
    is no string therefore excludes nothing, and an upper bound that is no string excludes everything.
    """
    conditions, values = _space_bounds(space)
    for given, value, backwards, strictly in (
        (query.has_start, query.start, query.descending, False),
        (query.has_end, query.end, not query.descending, not query.inclusive_end),
        (query.after is not None, query.after, query.descending, True),
    ):
        if given and isinstance(value, str):
            conditions.append(f"id {'<' if backwards else '>'}{'' if strictly else '='} ?")
            values.append(value)
        elif given and backwards:
            return None
    return "".join(f" AND {condition}" for condition in conditions), values


def _space_bounds(space: Space) -> tuple[list[str], list[str]]:
    if space.high is None:
        return [], []
    return ["id >= ?", "id < ?"], [space.low, space.high]


def _rest_after(query: Query, id: str, rows: int) -> Query | None:
    """Return the query for the rows after one, or None if ``rows`` use up its limit."""
    limit = None if query.limit is None else query.limit - rows
    # No row is left to ask for, so there is no further batch.
    if limit == 0:
        return None
    return replace(query, after=id, skip=0, limit=limit)


# --- keys


def _read_keys(connection: Connection, database_id: int, space: Space, query: Query) -> Batch:
    keys = (query.keys or ())[query.skip :]
    keys = keys[: query.limit]
    rows: list[bytes] = []
    size = 0
    for count, key in enumerate(keys, 1):
        rows.append(_read_key(connection, database_id, space, key, query))
        size += len(rows[-1])
        if size > limits.BATCH_BYTES or count >= limits.BATCH_ROWS:
            return Batch(rows, replace(query, keys=keys[count:], skip=0, limit=None))
    return Batch(rows, None)


def _read_key(connection: Connection, database_id: int, space: Space, key: Any, query: Query) -> bytes:
    found = _lookup(connection, database_id, space, key) if isinstance(key, str) else None
    if found is None:
        return b'{"key":' + encode(key) + b',"error":"not_found"}'
    return _row_json(connection, database_id, key, found, query)


def _lookup(connection: Connection, database_id: int, space: Space, id: str) -> StoredRevision | None:
    condition, values = _space_bounds(space)
    sql = f"{_LOOKUPS[space.local]}{''.join(f' AND {bound}' for bound in condition)}"
    row = connection.execute(sql, (database_id, id, *values)).fetchone()
    return row and StoredRevision(*row)


_LOOKUPS: Final = {
    False: "SELECT rev, deleted, attachments, body FROM document WHERE database = ? AND id = ?",
    True: "SELECT '0-' || rev, 0, NULL, body FROM local_document WHERE database = ? AND id = ?",
}


# --- rows


def _row_json(connection: Connection, database_id: int, id: str, found: StoredRevision, query: Query) -> bytes:
    name = to_json(id)
    deleted = b',"deleted":true' if found.deleted else b""
    row = b'{"id":%b,"key":%b,"value":{"rev":%b%b}' % (name, name, to_json(found.rev), deleted)
    if not query.include_docs:
        return row + b"}"
    document = b"null" if found.deleted else _document_json(connection, database_id, id, found, query)
    return b"".join((row, b',"doc":', document, b"}"))


def _document_json(connection: Connection, database_id: int, id: str, found: StoredRevision, query: Query) -> bytes:
    if query.options == DEFAULT_OPTIONS:
        return document_json(id, found)
    try:
        return open_winner(connection, database_id, id, query.options).text
    except NotFoundError:  # a local document
        return document_json(id, found)


# --- the head


def _read_head(connection: Connection, database_id: int, space: Space, query: Query) -> bytes:
    living, seq, uuid = read_row(connection, database_id, "living, update_seq, uuid")
    # CouchDB counts no local documents.
    if space.local:
        total, offset = None, None
    else:
        # The count of the whole database is in its row.
        total = living if space.high is None else _count_documents(connection, database_id, space, "", [])
        offset = None if query.keys is not None else _first_offset(connection, database_id, space, query, total)
    head = {"total_rows": total, "offset": offset}
    if query.update_seq:
        head["update_seq"] = f"{seq}-{uuid}"
    return encode(head)[:-1] + b',"rows":['


def _first_offset(connection: Connection, database_id: int, space: Space, query: Query, total: int) -> int:
    """Return how many rows come before the first row of the query."""
    return min(total, _count_before(connection, database_id, space, query, total) + query.skip)


def _count_before(connection: Connection, database_id: int, space: Space, query: Query, total: int) -> int:
    if not query.has_start:
        return 0
    if not isinstance(query.start, str):
        return total if query.descending else 0
    return _count_documents(connection, database_id, space, f"id {'>' if query.descending else '<'} ?", [query.start])


def _count_documents(connection: Connection, database_id: int, space: Space, condition: str, values: list[str]) -> int:
    """Return how many living documents meet the condition on the id.

    SQLite answers each of the two counts from an index alone.
    """
    bounds, bound_values = _space_bounds(space)
    where = " AND ".join([*bounds, condition] if condition else bounds)
    counted: int = connection.execute(
        f"SELECT (SELECT count(*) FROM document WHERE database = ? AND {where})"
        f" - (SELECT count(*) FROM document WHERE database = ? AND deleted AND {where})",
        (database_id, *bound_values, *values) * 2,
    ).fetchone()[0]
    return counted
