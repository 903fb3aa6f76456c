"""The changes of a database: each document at its last sequence number, in their order.

They are read in batches, each behind the last number of the one before, so that nothing is missed or told twice.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded.documents.design_functions import FunctionFilter
from couchmodel._embedded.documents.reader import NO_WISHES, Found, Wishes, document_json, open_winner, stored_revision
from couchmodel._embedded.json.incremental import LARGE, decode_stored, dissolve
from couchmodel._embedded.limits.deadlines import check_time
from couchmodel._embedded.limits.turns import TIMEOUT, TURN, bounded
from couchmodel._embedded.mango.fields import Projection
from couchmodel._embedded.mango.fields import parse_fields as parse_projection
from couchmodel._embedded.mango.selector import Selector
from couchmodel._embedded.rules.params import LARGEST, whole_number
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database
from couchmodel._wire.messages import encode
from couchmodel._wire.revisions import revisions_member
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = [
    "NO_LIMIT",
    "Batch",
    "Change",
    "Filter",
    "Query",
    "choose",
    "parse_since",
    "present",
    "read_batch",
    "read_candidates",
    "tag",
]

BATCH_BYTES: Final = 524_288
BATCH_ROWS: Final = 1000
BATCH_EXAMINED: Final = 5000
"""Documents that are looked at before others get a turn on the reading thread."""

BATCH_ASKED: Final = 50
"""Documents that a function is asked about at once."""

_SINCE = re.compile(r'"?([0-9]+)(?:-([A-Za-z0-9_-]+))?"?')


ALL_FIELDS: Final = Projection([])


class Filter(NamedTuple):
    """Which documents' changes are told."""

    ids: tuple[str, ...] | None = None
    design: bool = False
    selector: Selector | None = None
    fields: Projection = ALL_FIELDS
    """What is shown of their documents."""
    function: FunctionFilter | None = None


EVERYTHING: Final = Filter()


NO_LIMIT: Final = 10**15
"""The limit of a feed that has none, in CouchDB; it shows in ``seq_interval``."""


@dataclass(slots=True, frozen=True)
class Query:
    """Which changes are wanted, and what of them. ``since`` is None for the present.

    Backwards, ``since`` counts for nothing, as in CouchDB; ``before`` is where the batch before has ended.

    ``limit`` counts down; a negative one never ends a feed, as in CouchDB. A row tells its sequence only if what is
    left of the limit is a multiple of ``interval``.
    """

    since: int | None = 0
    before: int | None = None
    limit: int = NO_LIMIT
    interval: int = 1
    descending: bool = False
    all_leaves: bool = False
    include_docs: bool = False
    wishes: Wishes = NO_WISHES
    filter: Filter = EVERYTHING

    def after(self, batch: "Batch") -> "Query":
        """Return the query for the changes that come after a batch."""
        return replace(self, since=batch.last_seq, limit=self.limit - len(batch.rows))


class Change(NamedTuple):
    """One row, and the sequence that it tells, as JSON."""

    sequence: bytes
    text: bytes


class Candidate(NamedTuple):
    """A document that has changed, and its revisions that a function is asked about, with their JSON."""

    seq: int
    id: str
    found: Found
    leaves: list[tuple[str, bytes]]


class Candidates(NamedTuple):
    """Some of them, the number up to which they are all, and whether there are more behind it."""

    query: Query
    candidates: list[Candidate]
    last: int
    more: bool


class Batch(NamedTuple):
    """Some rows, the number up to which they tell everything, and what is left of the query; None at the end."""

    rows: list[Change]
    last_seq: int
    pending: int
    rest: Query | None


def parse_since(text: str, database: Database) -> int | None:
    """The number of a sequence id, None for ``now``; 0 for the id of another database, whose numbers mean nothing here.

    Raises:
        BadRequestError: it is no sequence id.
    """
    if text == "now":
        return None
    found = _SINCE.fullmatch(text)
    if found is None:
        raise BadRequestError("Malformed sequence supplied in 'since' parameter.")
    number, opaque = whole_number(found[1]), found[2]
    if number > LARGEST:
        raise BadRequestError("Malformed sequence supplied in 'since' parameter.")
    return number if opaque in (None, database.uuid) else 0


def tag(database: Database, connection: Connection) -> str:
    """An ETag of the database as it stands. Raises NotFoundError."""
    update_seq, purge_seq = _standing(database, connection)
    return f'"{update_seq}-{purge_seq}-{database.uuid}"'


def present(database: Database, connection: Connection) -> int:
    """The sequence number behind which changes are yet to come. Raises NotFoundError."""
    return _standing(database, connection)[0]


def _standing(database: Database, connection: Connection) -> tuple[int, int]:
    row: tuple[int, int] | None = connection.execute(
        "SELECT update_seq, purge_seq FROM database WHERE number = ? AND name IS NOT NULL", (database.number,)
    ).fetchone()
    if row is None:
        raise NotFoundError("Database does not exist.")
    return row


def read_batch(database: Database, query: Query, connection: Connection) -> Batch:
    """The next changes, whatever a function says of them: see :func:`read_candidates`.

    Raises NotFoundError where the database has been dropped, ServerError for a slow selector.
    """
    query, end = _bounded(database, query, connection)
    with bounded(TIMEOUT):
        return _collect(connection, database, query, end)


def read_candidates(database: Database, query: Query, connection: Connection) -> Candidates:
    """The next changes that a function is to be asked about. Raises NotFoundError where the database was dropped."""
    query, end = _bounded(database, query, connection)
    most = query.limit if 0 < query.limit < BATCH_ASKED else BATCH_ASKED
    candidates: list[Candidate] = []
    size = 0
    for row in _read(connection, database, query):
        if len(candidates) == most or size > BATCH_BYTES:
            return Candidates(query, candidates, candidates[-1].seq, True)
        seq, id, _, *content, _ = row
        candidates.append(Candidate(seq, id, Found(*content), _leaves(connection, row, query)))
        size += sum(len(text) for _, text in candidates[-1].leaves)
    last = candidates[-1].seq if candidates else query.since or 0
    return Candidates(query, candidates, last if query.descending else end, False)


def choose(database: Database, candidates: Candidates, passing: Sequence[bool], connection: Connection) -> Batch:
    """The candidates that a function has let pass: ``passing`` has what it says of each of their leaves."""
    query, answers, rows, last = candidates.query, iter(passing), list[Change](), candidates.last
    for candidate in candidates.candidates:
        revs = [rev for rev, _ in candidate.leaves if next(answers)]
        with suppress(NotFoundError):  # it was purged meanwhile
            if revs:
                text = _row(connection, database, candidate.id, candidate.found, revs, query)
                rows.append(_change(database, query, candidate.seq, len(rows), text))
                last = candidate.seq
    if len(rows) == query.limit:
        return Batch(rows, last, _pending(connection, database, query, last), None)
    batch = Batch(rows, candidates.last, 0, None)
    rest = replace(query.after(batch), before=candidates.last) if candidates.more else None
    return batch._replace(rest=rest)


def _bounded(database: Database, query: Query, connection: Connection) -> tuple[Query, int]:
    """The query with the number where it begins, and the number where it ends. Raises NotFoundError."""
    row = connection.execute(
        "SELECT update_seq, (SELECT max(seq) FROM document WHERE database = database.number) FROM database"
        " WHERE number = ? AND name IS NOT NULL",
        (database.number,),
    ).fetchone()
    if row is None:
        raise NotFoundError("Database does not exist.")
    update_seq, last = row  # there is no change behind the last one of a document, but a purge may have been
    since = update_seq if query.since is None else query.since
    return replace(query, since=since), max(last or 0, since)


def _collect(connection: Connection, database: Database, query: Query, end: int) -> Batch:
    rows: list[Change] = []
    size, last, started = 0, query.since or 0, time.monotonic()
    found = enumerate(_rows(connection, database, query), 1) if query.limit != 0 else ()
    for examined, (seq, text) in found:
        last = seq
        if text is not None:
            rows.append(_change(database, query, seq, len(rows), text))
            size += len(text)
        if len(rows) == query.limit:
            return Batch(rows, seq, _pending(connection, database, query, seq), None)
        full = size > BATCH_BYTES or len(rows) >= BATCH_ROWS or examined >= BATCH_EXAMINED
        if full or time.monotonic() - started > TURN:
            batch = Batch(rows, seq, 0, None)
            return batch._replace(rest=replace(query.after(batch), before=seq))
    if query.limit == 0:
        last = end if query.descending else last
        return Batch([], last, _pending(connection, database, query, last + query.descending), None)
    return Batch(rows, last if query.descending else end, 0, None)


def _change(database: Database, query: Query, seq: int, told: int, text: bytes) -> Change:
    """Return a row with the sequence that it tells: null for a row that ``seq_interval`` passes over."""
    is_told = (query.limit - told) % query.interval == 0
    sequence = b'"%d%b"' % (seq, database.opaque) if is_told else b"null"
    return Change(sequence, b"".join((b'{"seq":', sequence, b",", text)))


def _rows(connection: Connection, database: Database, query: Query) -> Iterator[tuple[int, bytes | None]]:
    """Every change in the range, less its sequence; without a text where the selector does not match."""
    for seq, id, number, *content, tree in _read(connection, database, query):
        check_time()
        found = Found(*content)
        revs = _revs(connection, id, number, found, tree, query)
        yield seq, _row(connection, database, id, found, revs, query) if revs else None


def _read(connection: Connection, database: Database, query: Query) -> Iterator[Any]:
    condition, values = _condition(query)
    return connection.execute(
        "SELECT seq, id, number, rev, deleted, attachments, body, tree FROM document"
        f" WHERE database = ? {condition} ORDER BY seq {'DESC' if query.descending else 'ASC'}",
        (database.number, *values),
    )


def _leaves(connection: Connection, row: Any, query: Query) -> list[tuple[str, bytes]]:
    """The revisions of a document that a function is asked about, with their history."""
    _, id, number, *content, packed = row
    winning, tree = Found(*content), RevTree.from_bytes(packed)
    leaves: list[tuple[str, bytes]] = []
    for rev in tree.leaves if query.all_leaves else (tree.winner,):
        leaf = winning if str(rev) == winning.rev else stored_revision(connection, number, rev)
        if leaf is not None:
            history = encode({"_revisions": revisions_member(tree.path(rev))})
            leaves.append((leaf.rev, document_json(id, leaf, b"," + history[1:-1])))
    return leaves


def _condition(query: Query) -> tuple[str, list[object]]:
    conditions, values = [], list[object]()
    if not query.descending:
        conditions.append("AND seq > ?")
        values.append(query.since)
    elif query.before is not None:
        conditions.append("AND seq < ?")
        values.append(query.before)
    if query.filter.ids is not None:
        conditions.append("AND id IN (SELECT value FROM json_each(?))")
        values.append(encode(query.filter.ids).decode())
    if query.filter.design:
        conditions.append("AND id >= '_design/' AND id < '_design0'")
    return " ".join(conditions), values


def _revs(connection: Connection, id: str, number: int, found: Found, tree: bytes, query: Query) -> list[str]:
    """The revisions to tell of a document: its winner, or all its leaves, as far as they match."""
    revs = [str(leaf) for leaf in RevTree.from_bytes(tree).leaves] if query.all_leaves else [found.rev]
    selector = query.filter.selector
    if selector is None:
        return revs
    return [
        rev
        for rev in revs
        if (leaf := found if rev == found.rev else stored_revision(connection, number, rev))
        and _matches(selector, document_json(id, leaf))
    ]


def _matches(selector: Selector, text: bytes) -> bool:
    document = decode_stored(text, selector.members)
    try:
        return selector.matches(document)
    finally:
        if len(text) > LARGE:
            dissolve(document)


def _row(
    connection: Connection,
    database: Database,
    id: str,
    found: Found,
    revs: list[str],
    query: Query,
) -> bytes:
    changes = to_json([{"rev": rev} for rev in revs])
    row = b'"id":%b,"changes":%b' % (to_json(id), changes)
    if found.deleted:
        row += b',"deleted":true'
    if not query.include_docs:
        return row + b"}"
    if query.wishes == NO_WISHES:
        document = document_json(id, found)
    else:
        document = open_winner(database.number, id, query.wishes._replace(deleted=True), connection).text
    fields = query.filter.fields
    if fields is not ALL_FIELDS:
        document = _picked(fields, document)
    return b"".join((row, b',"doc":', document, b"}"))


def _picked(fields: Projection, text: bytes) -> bytes:
    document = decode_stored(text, fields.members)
    try:
        return fields.pick_json(document, len(text))
    finally:
        if len(text) > LARGE:
            dissolve(document)


def _pending(connection: Connection, database: Database, query: Query, seq: int) -> int:
    """How many changes lie behind one, in the order of the query."""
    counted: int = connection.execute(
        f"SELECT count(*) FROM document WHERE database = ? AND seq {'<' if query.descending else '>'} ?",
        (database.number, seq),
    ).fetchone()[0]
    return counted


def parse_style(text: str) -> bool:
    """Whether all leaves are wanted. Raises BadRequestError."""
    if text not in ("main_only", "all_docs"):
        raise BadRequestError("Supported `style` types: main_only, all_docs")
    return text == "all_docs"


def parse_ids(value: Any) -> tuple[str, ...]:
    """The operand of the filter ``_doc_ids``. Raises BadRequestError."""
    if not isinstance(value, list):
        raise BadRequestError("`doc_ids` filter parameter is not a list of doc ids.")
    return tuple(item for item in value if isinstance(item, str))


def parse_selector(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The operand of the filter ``_selector``. Raises BadRequestError."""
    value = body.get("selector")
    if not isinstance(value, dict):
        raise BadRequestError("Selector error: expected a JSON object")
    return value


def parse_fields(body: Mapping[str, Any]) -> Projection:
    """What the filter ``_selector`` shows of a document. Raises BadRequestError."""
    value = body.get("fields", [])
    if not isinstance(value, list):
        raise BadRequestError("Selector error: fields must be JSON array")
    return parse_projection(value) if value else ALL_FIELDS
