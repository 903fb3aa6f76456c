"""``_find``: the documents that a selector matches, in the order of an index or of their ids, a batch at a time.

A plan only narrows the search: each row in its range is read, and the selector decides. If the keys of an index cover
the query, only the index is read. Otherwise the documents are read too, as they are by then. If the range proves that
they match, they are neither parsed nor judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.budget import Budget, require_thread
from couchmodel._embedded.documents.attachments import attachment_stubs, unpack
from couchmodel._embedded.documents.reader import (
    ReadOptions,
    StoredRevision,
    document_json,
    open_winner,
    winner_json,
)
from couchmodel._embedded.json.values import decode_stored, free
from couchmodel._embedded.mango.options import invalid_bookmark_error
from couchmodel._embedded.mango.paths import parse_path
from couchmodel._embedded.queries.search import FindBatch, Position, Search, pack_bookmark
from couchmodel._embedded.storage.database_row import read_row
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.designs import View
from couchmodel._embedded.views.reader import HIGHEST_ID, Place, Span, check_index, read_documents, read_rows
from couchmodel._wire.messages import decode, encode

__all__ = ["read_batch"]


def read_batch(connection: Connection, search: Search) -> FindBatch:
    """Read the next documents.

    Raises:
        NotFoundError: the database was dropped.
        ServerError: the query takes too long.
    """
    update_seq, *_ = read_row(connection, search.database_id, "update_seq")
    batch, budget = FindBatch(), Budget(search.seconds)
    is_current = _is_current(connection, search, update_seq)
    if search.proof is not None and is_current:
        rest = _fill_proven(connection, batch, search, search.proof.excluded, budget)
    else:
        rest = _fill_batch(connection, batch, search, budget, is_current=is_current)
    # The time limit is for the next document: an answer of many documents may take longer.
    seconds = limits.QUERY_SECONDS if batch.rows else search.seconds - batch.seconds
    batch.rest = rest and replace(rest, seconds=seconds)
    return batch


def _is_current(connection: Connection, search: Search, update_seq: int) -> bool:
    """Return True if the rows of a search are those of the documents as they are now."""
    source = search.source
    if source is None or source.number is None:
        return source is None
    index_seq, _ = check_index(connection, search.database_id, source.number)
    # The keys of a document that was changed since are older than the document, which is what has to match.
    return index_seq == update_seq


def _fill_proven(
    connection: Connection, batch: FindBatch, search: Search, excluded: frozenset[str], budget: Budget
) -> Search | None:
    """Put documents into a batch whose rows are all of documents that match. Return the rest, or None at its end.

    It does what :func:`_fill_batch` does, in a fraction of the time for each row.
    """
    skip, limit, rows, last, rest = search.skip, search.limit, batch.rows, None, None
    size = read = examined = kept = 0
    for key, id, rev, deleted, attachments, body in _rows(connection, search) if limit else ():
        examined += 1
        if deleted != 0 or id in excluded:
            continue
        read += len(body)
        if read > limits.BATCH_BYTES:
            require_thread()  # to read and to join so many bytes takes long, those of skipped documents included
            read = 0
        if id.startswith("_design/"):
            examined = kept
            continue
        kept, last = examined, (key, id)
        if skip:
            skip -= 1
        else:
            row = winner_json(id, rev, attachments, body)
            rows.append(row)
            size += len(row)
            limit -= 1
            if limit == 0:
                break
        is_long = size > limits.BATCH_BYTES or len(rows) >= limits.BATCH_ROWS
        if is_long or examined % limits.ROWS_PER_LOOK == 0:
            budget.pause()
            batch.size, batch.statistics.keys = size, examined
            if batch.is_full:
                rest = replace(search, skip=skip, limit=limit, after=Position(key, id))
                break
    batch.size, batch.last = size, last and Position(*last)
    batch.statistics.keys = batch.statistics.documents = examined
    batch.statistics.returned = len(rows)
    return rest


def _fill_batch(
    connection: Connection, batch: FindBatch, search: Search, budget: Budget, *, is_current: bool
) -> Search | None:
    """Put documents into a batch. Return the rest of the search, or None at its end."""
    skip, limit = search.skip, search.limit
    for entry in _entries(connection, search, batch, is_current=is_current):
        budget.pause()
        matches = entry.document is not None and search.selector.matches(entry.document, budget)
        batch.statistics.count(is_read=entry.is_read)
        if batch.statistics.keys == limits.INLINE_EXAMINED:
            require_thread()
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


def _entries(connection: Connection, search: Search, batch: FindBatch, *, is_current: bool) -> Iterator[_Entry]:
    """Yield the rows in the plan's range, after the page before. A large document is freed after its row."""
    if search.limit == 0 and not search.wants_statistics:
        return
    can_judge = search.selector_covered and is_current
    found = (
        _covered_entries(connection, search)
        if search.covered
        else _read_entries(connection, search, batch, can_judge=can_judge)
    )
    for entry in found:
        try:
            yield entry
        finally:
            if entry.size > limits.LARGE_JSON:
                free(entry.document)


def _read_entries(connection: Connection, search: Search, batch: FindBatch, *, can_judge: bool) -> Iterator[_Entry]:
    """Yield the rows with their documents. ``can_judge`` says that the keys tell whether a document matches."""
    columns = [parse_path(column) for column in search.plan.index.columns]
    for key, id, *content in _rows(connection, search):
        position, found = Position(key, id), StoredRevision(*content)
        if can_judge and found.deleted == 0:
            # Parsing the document would take longer than reading it.
            yield _Entry(position, _document_from_row(columns, key, id), found, is_read=True)
        else:
            yield _read_entry(connection, search, position, found, batch)


def _covered_entries(connection: Connection, search: Search) -> Iterator[_Entry]:
    """Yield the rows with what their keys hold of the documents, which are not read."""
    columns = [parse_path(column) for column in search.plan.index.columns]
    for key, id, *_ in _rows(connection, search, with_documents=False):
        yield _Entry(Position(key, id), _document_from_row(columns, key, id))


def _rows(connection: Connection, search: Search, *, with_documents: bool = True) -> Iterator[tuple[Any, ...]]:
    """Return the rows in the plan's range, after the page before: each key, id, and columns of a StoredRevision."""
    source = search.source
    if source is None:
        return _id_rows(connection, search)
    if source.number is None:
        return iter(())
    view = source.view
    span, after = _key_span(search, view), _resume_place(search, view)
    if with_documents:
        return read_documents(connection, search.database_id, source.number, view.place, span, after=after)
    return ((row.emitted, row.id) for row in read_rows(connection, source.number, view.place, span, after=after))


def _id_rows(connection: Connection, search: Search) -> Iterator[tuple[Any, ...]]:
    """Return the living documents in the plan's range of ids, with None for a key."""
    condition, values = _id_condition(search)
    order = "DESC" if search.plan.descending else "ASC"
    return connection.execute(
        "SELECT NULL, id, rev, deleted, attachments, body FROM document WHERE database = ? AND NOT deleted"
        f"{condition} ORDER BY id {order}",
        (search.database_id, *values),
    )


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
    connection: Connection, search: Search, position: Position, found: StoredRevision, batch: FindBatch
) -> _Entry:
    if found.deleted != 0:  # None of a document that was purged
        return _Entry(position, None)
    if search.conflicts:
        opened = open_winner(connection, search.database_id, position.id, ReadOptions(conflicts=True))
        return _Entry(position, _parse_document(opened.text, batch, None), is_read=True)
    document = {"_id": position.id, "_rev": found.rev, **_parse_document(found.body, batch, search.members)}
    if found.attachments:
        document["_attachments"] = attachment_stubs(unpack(found.attachments))
    return _Entry(position, document, found, is_read=True)


_ROW_MEMBERS: Final = frozenset(("_id", "_rev"))
"""The members of a document that are stored in columns of their own, and not in its text."""


def _parse_document(text: bytes, batch: FindBatch, members: frozenset[str] | None) -> dict[str, Any]:
    """Parse a document. Of a large one, only the members that ``members`` names are kept.

    The result is empty if these are not in the text. Raises BusyError in the event loop if the batch parses many bytes.
    """
    batch.parsed += len(text)
    if batch.parsed > limits.INLINE_JSON_BYTES:
        require_thread()
    if members is not None and members <= _ROW_MEMBERS:  # as for the ids of one kind
        return {}
    return decode_stored(text, members)


def _document_from_row(columns: list[tuple[str, ...]], key: bytes, id: str) -> dict[str, Any]:
    """Rebuild members of a document from the keys of an index row."""
    document: dict[str, Any] = {"_id": id}
    for path, value in zip(columns, decode(key), strict=True):
        _put_member(document, path, value)
    return document


def _put_member(document: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *parents, last = path
    inner: object = document
    for name in parents:
        inner = inner.setdefault(name, {}) if isinstance(inner, dict) else None
    if isinstance(inner, dict):  # otherwise another column holds a parent of the member, and so the member
        inner[last] = value
