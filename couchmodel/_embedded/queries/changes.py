"""The changes of a database: each document at the sequence number of its last change, in the order of these numbers.

They are read in batches. Each begins after the last number of the batch before, so no change is missed or repeated.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.budget import Budget
from couchmodel._embedded.documents.design_functions import FunctionFilter
from couchmodel._embedded.documents.reader import (
    DEFAULT_OPTIONS,
    IS_DESIGN,
    ReadOptions,
    StoredRevision,
    document_json,
    open_winner,
    stored_revision,
)
from couchmodel._embedded.json.values import stored_value
from couchmodel._embedded.mango.fields import Projection
from couchmodel._embedded.mango.fields import parse_fields as parse_projection
from couchmodel._embedded.mango.selector import Selector
from couchmodel._embedded.rules.params import parse_digits
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.database_row import read_row
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import encode
from couchmodel._wire.revisions import revisions_member
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = [
    "NO_LIMIT",
    "Change",
    "ChangesBatch",
    "ChangesQuery",
    "Filter",
    "batch_of_passing",
    "parse_since",
    "read_batch",
    "read_candidates",
    "read_etag",
    "read_last_sequence",
]

_SINCE = re.compile(r'"?([0-9]+)(?:-([A-Za-z0-9_-]+))?"?')


ALL_FIELDS: Final = Projection([])


class Filter(NamedTuple):
    """A filter of changes: by ids, for design documents only, by a selector, or by a function."""

    ids: tuple[str, ...] | None = None
    design: bool = False
    selector: Selector | None = None
    fields: Projection = ALL_FIELDS
    """The members of the documents that ``include_docs`` shows."""
    function: FunctionFilter | None = None


EVERYTHING: Final = Filter()


NO_LIMIT: Final = 10**15
"""CouchDB's limit for a feed without one. ``seq_interval`` counts from it, so the number shows."""


@dataclass(slots=True, frozen=True)
class ChangesQuery:
    """A query for changes. ``since`` is None for ``now``.

    A descending query ignores ``since``, as in CouchDB; ``before`` is the last number of the batch before.

    ``limit`` counts down; a negative one never ends a feed, as in CouchDB. A row shows its sequence only if the rest of
    the limit is a multiple of ``interval``.
    """

    since: int | None = 0
    before: int | None = None
    limit: int = NO_LIMIT
    interval: int = 1
    descending: bool = False
    all_leaves: bool = False
    include_docs: bool = False
    options: ReadOptions = DEFAULT_OPTIONS
    filter: Filter = EVERYTHING

    def after(self, batch: "ChangesBatch") -> "ChangesQuery":
        """Return the query for the changes that come after a batch."""
        return replace(self, since=batch.last_seq, limit=self.limit - len(batch.rows))


class Change(NamedTuple):
    """One row and the sequence that it shows, both as JSON."""

    sequence: bytes
    text: bytes


class Candidate(NamedTuple):
    """A document that has changed, and the revisions of it that a function judges, each with its JSON."""

    seq: int
    id: str
    found: StoredRevision
    leaves: list[tuple[str, bytes]]


class Candidates(NamedTuple):
    """Some candidates: all up to the number ``last``. ``more`` says that others follow."""

    query: ChangesQuery
    candidates: list[Candidate]
    last: int
    more: bool


class ChangesBatch(NamedTuple):
    """Some rows: all up to the number ``last_seq``. ``rest`` is the query for the rows that follow, None at the end."""

    rows: list[Change]
    last_seq: int
    pending: int
    rest: ChangesQuery | None


def parse_since(text: str, database: Database) -> int | None:
    """Return the number of a sequence id; None for ``now``.

    The id of another database gives 0, since its numbers mean nothing in this one.

    Raises:
        BadRequestError: the text is no sequence id.
    """
    # Its number is looked up when the feed begins, inside a read.
    if text == "now":
        return None
    found = _SINCE.fullmatch(text)
    if found is None:
        raise BadRequestError("Malformed sequence supplied in 'since' parameter.")
    number, opaque = parse_digits(found[1]), found[2]
    if number > limits.LARGEST_NUMBER:
        raise BadRequestError("Malformed sequence supplied in 'since' parameter.")
    # A client that followed a dropped database of this name begins anew: it would miss the changes up to its old
    # number.
    return number if opaque in (None, database.uuid) else 0


def read_etag(connection: Connection, database: Database) -> str:
    """Return an ETag of the present state of the database. Raises NotFoundError if it was dropped."""
    update_seq, purge_seq = _read_sequences(connection, database)
    return f'"{update_seq}-{purge_seq}-{database.uuid}"'


def read_last_sequence(connection: Connection, database: Database) -> int:
    """Return the sequence number of the last change. Raises NotFoundError if the database was dropped."""
    return _read_sequences(connection, database)[0]


def _read_sequences(connection: Connection, database: Database) -> tuple[int, int]:
    update_seq, purge_seq = read_row(connection, database.number, "update_seq, purge_seq")
    return update_seq, purge_seq


def read_batch(connection: Connection, database: Database, query: ChangesQuery) -> ChangesBatch:
    """Read the next changes, without regard to a filter function: see :func:`read_candidates`.

    Raises NotFoundError if the database was dropped, ServerError if a selector takes too long.
    """
    query, end = _resolve_range(connection, database, query)
    return _collect_batch(connection, database, query, end)


def read_candidates(connection: Connection, database: Database, query: ChangesQuery) -> Candidates:
    """Read the next changes for a function to judge. Raises NotFoundError if the database was dropped."""
    query, end = _resolve_range(connection, database, query)
    # The function gets no more documents than the answer may have rows.
    most = query.limit if 0 < query.limit < limits.BATCH_ASKED else limits.BATCH_ASKED
    candidates: list[Candidate] = []
    size = 0
    for row in _read_rows(connection, database, query):
        if len(candidates) == most or size > limits.BATCH_BYTES:
            return Candidates(query, candidates, candidates[-1].seq, True)
        seq, id, _, *content, _ = row
        candidates.append(Candidate(seq, id, StoredRevision(*content), _read_leaves(connection, row, query)))
        size += sum(len(text) for _, text in candidates[-1].leaves)
    last = candidates[-1].seq if candidates else query.since or 0
    return Candidates(query, candidates, last if query.descending else end, False)


def batch_of_passing(
    connection: Connection, database: Database, candidates: Candidates, verdicts: Sequence[bool]
) -> ChangesBatch:
    """Make a batch of the candidates that pass a function. ``verdicts`` has its answer for each of their leaves."""
    query, passes, rows, last = candidates.query, iter(verdicts), list[Change](), candidates.last
    for candidate in candidates.candidates:
        # The verdicts come in the order of the leaves, document after document.
        revs = [rev for rev, _ in candidate.leaves if next(passes)]
        with suppress(NotFoundError):  # it was purged meanwhile
            if revs:
                text = _row_json(connection, database, candidate.id, candidate.found, revs, query)
                rows.append(_make_change(database, query, candidate.seq, len(rows), text))
                last = candidate.seq
    if len(rows) == query.limit:
        return ChangesBatch(rows, last, _count_pending(connection, database, query, last), None)
    batch = ChangesBatch(rows, candidates.last, 0, None)
    rest = replace(query.after(batch), before=candidates.last) if candidates.more else None
    return batch._replace(rest=rest)


def _resolve_range(connection: Connection, database: Database, query: ChangesQuery) -> tuple[ChangesQuery, int]:
    """Return the query with ``since`` as a number, and the number where a feed of it ends.

    Raises NotFoundError if the database was dropped.
    """
    columns = "update_seq, (SELECT max(seq) FROM document WHERE database = database.number)"
    update_seq, last = read_row(
        connection, database.number, columns
    )  # a purge raises update_seq beyond the last change of a document
    since = update_seq if query.since is None else query.since
    return replace(query, since=since), max(last or 0, since)


def _collect_batch(connection: Connection, database: Database, query: ChangesQuery, end: int) -> ChangesBatch:
    rows: list[Change] = []
    size, last, started = 0, query.since or 0, time.monotonic()
    # For the whole batch: a selector that matches nothing may examine many documents.
    budget = Budget(limits.QUERY_SECONDS)
    found = enumerate(_filter_rows(connection, database, query, budget), 1) if query.limit != 0 else ()
    for examined, (seq, text) in found:
        last = seq
        if text is not None:
            rows.append(_make_change(database, query, seq, len(rows), text))
            size += len(text)
        if len(rows) == query.limit:
            return ChangesBatch(rows, seq, _count_pending(connection, database, query, seq), None)
        full = size > limits.BATCH_BYTES or len(rows) >= limits.BATCH_ROWS or examined >= limits.BATCH_EXAMINED
        if full or time.monotonic() - started > limits.TURN_SECONDS:
            batch = ChangesBatch(rows, seq, 0, None)
            return batch._replace(rest=replace(query.after(batch), before=seq))
    if query.limit == 0:
        last = end if query.descending else last
        return ChangesBatch([], last, _count_pending(connection, database, query, last + query.descending), None)
    return ChangesBatch(rows, last if query.descending else end, 0, None)


def _make_change(database: Database, query: ChangesQuery, seq: int, count: int, text: bytes) -> Change:
    """Return a row with its sequence, which is null if ``seq_interval`` passes over the row.

    ``count`` is the number of rows before it in the batch.
    """
    has_sequence = (query.limit - count) % query.interval == 0
    sequence = b'"%d%b"' % (seq, database.sequence_suffix) if has_sequence else b"null"
    return Change(sequence, b"".join((b'{"seq":', sequence, b",", text)))


def _filter_rows(
    connection: Connection, database: Database, query: ChangesQuery, budget: Budget
) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number of every change in the range, and its row without the sequence.

    The row is None if the selector does not match.
    """
    for seq, id, number, *content, tree in _read_rows(connection, database, query):
        budget.pause()
        found = StoredRevision(*content)
        revs = _reported_revs(connection, id, number, found, tree, query, budget)
        yield seq, _row_json(connection, database, id, found, revs, query) if revs else None


def _read_rows(connection: Connection, database: Database, query: ChangesQuery) -> Iterator[Any]:
    condition, values = _sql_condition(query)
    return connection.execute(
        "SELECT seq, id, number, rev, deleted, attachments, body, tree FROM document"
        f" WHERE database = ? {condition} ORDER BY seq {'DESC' if query.descending else 'ASC'}",
        (database.number, *values),
    )


def _read_leaves(connection: Connection, row: Any, query: ChangesQuery) -> list[tuple[str, bytes]]:
    """Return the revisions of a document that a function judges: their ids, and their JSON with ``_revisions``."""
    _, id, number, *content, packed = row
    winning, tree = StoredRevision(*content), RevTree.from_bytes(packed)
    leaves: list[tuple[str, bytes]] = []
    for rev in tree.leaves if query.all_leaves else (tree.winner,):
        leaf = winning if str(rev) == winning.rev else stored_revision(connection, number, rev)
        if leaf is not None:
            history = encode({"_revisions": revisions_member(tree.path(rev))})
            leaves.append((leaf.rev, document_json(id, leaf, b"," + history[1:-1])))
    return leaves


def _sql_condition(query: ChangesQuery) -> tuple[str, list[object]]:
    conditions, values = [], list[object]()
    if not query.descending:
        conditions.append("AND seq > ?")
        values.append(query.since)
    elif query.before is not None:
        conditions.append("AND seq < ?")
        values.append(query.before)
    if query.filter.ids is not None:
        # As one JSON array, because SQLite limits the number of parameters of a statement.
        conditions.append("AND id IN (SELECT value FROM json_each(?))")
        values.append(encode(query.filter.ids).decode())
    if query.filter.design:
        conditions.append(f"AND {IS_DESIGN}")
    return " ".join(conditions), values


def _reported_revs(
    connection: Connection,
    id: str,
    number: int,
    found: StoredRevision,
    tree: bytes,
    query: ChangesQuery,
    budget: Budget,
) -> list[str]:
    """Return the revisions that the row of a document shows: its winner or all its leaves, if the selector matches."""
    revs = [str(leaf) for leaf in RevTree.from_bytes(tree).leaves] if query.all_leaves else [found.rev]
    selector = query.filter.selector
    if selector is None:
        return revs
    return [
        rev
        for rev in revs
        if (leaf := found if rev == found.rev else stored_revision(connection, number, rev))
        and _is_match(selector, document_json(id, leaf), budget)
    ]


def _is_match(selector: Selector, text: bytes, budget: Budget) -> bool:
    with stored_value(text, selector.members) as document:
        return selector.matches(document, budget)


def _row_json(
    connection: Connection,
    database: Database,
    id: str,
    found: StoredRevision,
    revs: list[str],
    query: ChangesQuery,
) -> bytes:
    changes = to_json([{"rev": rev} for rev in revs])
    row = b'"id":%b,"changes":%b' % (to_json(id), changes)
    if found.deleted:
        row += b',"deleted":true'
    if not query.include_docs:
        return row + b"}"
    if query.options == DEFAULT_OPTIONS:
        document = document_json(id, found)
    else:
        document = open_winner(connection, database.number, id, query.options._replace(deleted=True)).text
    fields = query.filter.fields
    if fields is not ALL_FIELDS:
        document = _pick_fields(fields, document)
    return b"".join((row, b',"doc":', document, b"}"))


def _pick_fields(fields: Projection, text: bytes) -> bytes:
    with stored_value(text, fields.members()) as document:
        return fields.pick_json(document, len(text))


def _count_pending(connection: Connection, database: Database, query: ChangesQuery, seq: int) -> int:
    """Return how many changes follow a number in the order of the query."""
    count: int = connection.execute(
        f"SELECT count(*) FROM document WHERE database = ? AND seq {'<' if query.descending else '>'} ?",
        (database.number, seq),
    ).fetchone()[0]
    return count


def parse_style(text: str) -> bool:
    """Return True if the parameter ``style`` asks for all leaves. Raises BadRequestError."""
    if text not in ("main_only", "all_docs"):
        raise BadRequestError("Supported `style` types: main_only, all_docs")
    return text == "all_docs"


def parse_ids(value: Any) -> tuple[str, ...]:
    """Return the ids of the filter ``_doc_ids``. Raises BadRequestError."""
    if not isinstance(value, list):
        raise BadRequestError("`doc_ids` filter parameter is not a list of doc ids.")
    return tuple(item for item in value if isinstance(item, str))


def parse_selector(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the selector of the filter ``_selector``. Raises BadRequestError."""
    value = body.get("selector")
    if not isinstance(value, dict):
        raise BadRequestError("Selector error: expected a JSON object")
    return value


def parse_fields(body: Mapping[str, Any]) -> Projection:
    """Return the members of a document that the filter ``_selector`` shows. Raises BadRequestError."""
    value = body.get("fields", [])
    if not isinstance(value, list):
        raise BadRequestError("Selector error: fields must be JSON array")
    return parse_projection(value) if value else ALL_FIELDS
