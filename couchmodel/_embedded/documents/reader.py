"""Read documents: the winning revision, other revisions, and metadata such as conflicts.

A document is stored without the members that begin with an underscore. To answer it, these members are put around the
stored bytes. The stored JSON is never parsed, so numbers and the order of members stay as they were sent.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.budget import require_thread
from couchmodel._embedded.documents import attachments as _attachments
from couchmodel._embedded.documents.attachments import Attachment, unpack
from couchmodel._embedded.documents.contents import StoredContent
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import encode
from couchmodel._wire.revisions import Rev, revisions_member
from couchmodel.errors import NotFoundError

__all__ = [
    "DEFAULT_OPTIONS",
    "FLAGS",
    "IS_DESIGN",
    "META",
    "AnsweredRevision",
    "ReadOptions",
    "RevisionContent",
    "StoredRevision",
    "document_json",
    "find_winner",
    "load_revision",
    "open_revisions",
    "open_winner",
    "read_tree",
    "require_living",
    "stored_revision",
    "winner_json",
]


class StoredRevision(NamedTuple):
    """A revision of a document as it is stored.

    ``attachments`` is the packed column (see ``attachments.unpack``), ``body`` the JSON without special members.
    """

    rev: str
    deleted: int
    attachments: bytes | None
    body: bytes


class ReadOptions(NamedTuple):
    """The options of a read: query parameters of ``GET /{db}/{docid}``, and two about the form of the answer."""

    revs: bool = False
    revs_info: bool = False
    conflicts: bool = False
    deleted_conflicts: bool = False
    local_seq: bool = False
    attachments: bool = False
    att_encoding_info: bool = False
    deleted: bool = False
    follows: bool = False
    """The contents of attachments follow the document as parts of a multipart answer, instead of as base64 in it."""
    whole_empty: bool = False
    """Empty attachments are in the document nevertheless, as an empty ``data``.

    A CouchDB that reads ``multipart/mixed`` would wait for the content of an empty part.
    """
    atts_since: Sequence[Rev] = ()
    """Revisions that the reader has. Attachments that are not newer than the newest of them are sent as stubs."""


DEFAULT_OPTIONS: Final = ReadOptions()

IS_DESIGN: Final = "id >= '_design/' AND id < '_design0'"
"""The SQL condition for the ids of design documents. ``0`` is the character after the slash."""

META: Final = ("revs_info", "conflicts", "deleted_conflicts")
"""Options about the whole document, and not about one revision."""

FLAGS: Final = ("revs", *META, "local_seq", "attachments", "att_encoding_info", "deleted")
"""All options that are booleans and query parameters."""


def read_tree(stored: bytes) -> RevTree:
    """Return the revision tree from its column. Raises BusyError in an event loop if the tree is large."""
    if len(stored) > limits.INLINE_TREE_BYTES:
        require_thread()
    return RevTree.from_bytes(stored)


def find_winner(connection: Connection, database_id: int, id: str) -> StoredRevision | None:
    """Return the winning revision of a document, which may be a tombstone, or None if there never was one."""
    row = connection.execute(
        "SELECT rev, deleted, attachments, body FROM document WHERE database = ? AND id = ?", (database_id, id)
    ).fetchone()
    return row and StoredRevision(*row)


def require_living(found: StoredRevision | None) -> StoredRevision:
    """Return the revision. Raises NotFoundError if it is None or a tombstone."""
    if found is None:
        raise NotFoundError("missing")
    if found.deleted:
        raise NotFoundError("deleted")
    return found


class AnsweredRevision(NamedTuple):
    """A revision in the form of an answer. ``text`` is its JSON.

    ``follow`` are the attachments whose contents come behind it, and ``contents`` are theirs. ``has_meta`` says that
    ``text`` also has metadata that can change while the revision stays the same, such as ``_conflicts``.
    """

    rev: str
    text: bytes
    follow: Sequence[Attachment] = ()
    contents: Sequence[StoredContent] = ()
    has_meta: bool = False


def open_winner(connection: Connection, database_id: int, id: str, options: ReadOptions) -> AnsweredRevision:
    """Return the winning revision with the requested metadata. Raises NotFoundError if it is missing or deleted."""
    row = connection.execute(
        "SELECT number, seq, rev, deleted, attachments, body, tree FROM document WHERE database = ? AND id = ?",
        (database_id, id),
    ).fetchone()
    if row is None:
        raise NotFoundError("missing")
    number, seq, *content, tree_bytes = row
    found = StoredRevision(*content)
    if not options.deleted:
        require_living(found)
    tree = read_tree(tree_bytes)
    meta = _meta_members(connection, number, seq, tree, options)
    return _open(connection, database_id, id, found, tree, options, meta)


def open_revisions(
    connection: Connection,
    database_id: int,
    id: str,
    revs: Sequence[Rev] | None,
    options: ReadOptions,
    latest: bool,
    *,
    drawn: bool = False,
) -> list[AnsweredRevision | Rev]:
    """Return the revisions of ``open_revs``, or all leaves if ``revs`` is None. A missing revision is returned as Rev.

    With ``latest``, each revision is replaced by the leaves that descend from it. The order is by rank, or with
    ``drawn`` that of CouchDB's walk through the tree. Raises BusyError in an event loop for many revisions.
    """
    row = connection.execute(
        "SELECT number, rev, deleted, attachments, body, tree FROM document WHERE database = ? AND id = ?",
        (database_id, id),
    ).fetchone()
    if len(revs or ()) > limits.INLINE_OPEN_REVISIONS:
        require_thread()
    if row is None:
        # CouchDB answers that each asked revision is missing, not that the document is.
        return list(revs or ())
    number, *content, tree_bytes = row
    winning, tree = StoredRevision(*content), read_tree(tree_bytes)
    opened: list[AnsweredRevision | Rev] = []
    for rev in _select_revisions(tree, revs, latest=latest, drawn=drawn):
        found = winning if str(rev) == winning.rev else stored_revision(connection, number, rev)
        opened.append(_open(connection, database_id, id, found, tree, options, {}) if found else rev)
    return opened


def winner_json(id: str, rev: str, attachments: bytes | None, body: bytes) -> bytes:
    """Return a living document as JSON, given the columns of its row. It is for reads of many documents."""
    if attachments is None and body != b"{}":
        return b'{"_id":%b,"_rev":%b,%b' % (to_json(id), to_json(rev), body[1:])
    return document_json(id, StoredRevision(rev, 0, attachments, body))


def document_json(id: str, found: StoredRevision, *more: bytes) -> bytes:
    """Return a document as JSON. ``more`` are parts of further members, which begin with a comma."""
    rev, deleted, packed, body = found
    if not (deleted or packed or any(more)) and body != b"{}":  # most documents: one step is faster than many parts
        return b'{"_id":%b,"_rev":%b,%b' % (to_json(id), to_json(rev), body[1:])
    members = body[1:-1]
    parts = [b'{"_id":', to_json(id), b',"_rev":', to_json(rev)]
    if members:
        parts += (b",", members)
    if deleted:
        parts.append(b',"_deleted":true')
    parts += more
    if packed:
        parts += (b',"_attachments":', encode(_attachments.attachment_stubs(unpack(packed))))
    parts.append(b"}")
    return b"".join(parts)


def _open(
    connection: Connection,
    database_id: int,
    id: str,
    found: StoredRevision,
    tree: RevTree,
    options: ReadOptions,
    meta: dict[str, object],
) -> AnsweredRevision:
    """Return a stored revision in the form of an answer, with the requested metadata and attachments."""
    path = tree.path(Rev.parse(found.rev)) if options.revs or options.atts_since else []
    members: dict[str, object] = {}
    if options.revs:
        # CouchDB cuts the history at `revs_limit` when it is read, also if more of it is stored.
        members["_revisions"] = revisions_member(path[: _revs_limit(connection, database_id)])
    members |= meta
    more: list[bytes] = []
    listed, follow = unpack(found.attachments), list[Attachment]()
    if listed and (options.attachments or options.att_encoding_info):
        wanted = _wanted_contents(listed, path, options)
        if options.follows:
            follow = [each for each in wanted if each.encoded_length or not options.whole_empty]
        info = options.att_encoding_info
        if options.follows or not wanted:
            empty = [each for each in wanted if each not in follow] if options.follows else ()
            members["_attachments"] = _attachments.attachment_stubs(
                listed, encoding_info=info, follow=follow, empty=empty
            )
        else:
            # The client may have lied about the plain length of a compressed content. gzip expands up to 1000 times.
            if sum(attachment.length for attachment in wanted) > limits.INLINE_BASE64_BYTES or any(
                attachment.encoding for attachment in wanted
            ):
                require_thread()
            more = [
                b',"_attachments":',
                *_attachments.inline_attachments(connection, id, listed, wanted, encoding_info=info),
            ]
        # The attachments are among the other members by now, so they must not be written again.
        found = found._replace(attachments=None)
    special = b"," + encode(members)[1:-1] if members else b""
    text = document_json(id, found, special, *more)
    contents = [_attachments.open_attachment(connection, id, attachment) for attachment in follow]
    return AnsweredRevision(found.rev, text, follow, contents, bool(meta))


def _revs_limit(connection: Connection, database_id: int) -> int:
    row = connection.execute("SELECT revs_limit FROM database WHERE number = ?", (database_id,)).fetchone()
    return int(row[0]) if row else 1


def _wanted_contents(listed: list[Attachment], path: Sequence[Rev], options: ReadOptions) -> list[Attachment]:
    """Return the attachments whose contents the reader wants: those newer than the newest revision it has."""
    if not options.attachments:
        return []
    there = set(options.atts_since)
    # `revpos` is the generation at which the attachment came, so newer generations are what the reader lacks.
    known = next((rev.generation for rev in path if rev in there), -1)
    return [attachment for attachment in listed if attachment.revpos > known]


def _meta_members(
    connection: Connection, number: int, seq: int, tree: RevTree, options: ReadOptions
) -> dict[str, object]:
    """Return the requested members about the whole document: ``_revs_info``, conflicts and ``_local_seq``."""
    meta: dict[str, object] = {}
    if options.revs_info:
        meta["_revs_info"] = _revs_info(connection, number, tree)
    if options.conflicts and tree.conflicts:
        meta["_conflicts"] = list(map(str, tree.conflicts))
    if options.deleted_conflicts and tree.deleted_conflicts:
        meta["_deleted_conflicts"] = list(map(str, tree.deleted_conflicts))
    if options.local_seq:
        meta["_local_seq"] = seq
    return meta


def _revs_info(connection: Connection, number: int, tree: RevTree) -> list[dict[str, str]]:
    rows = connection.execute("SELECT rev FROM revision WHERE document = ?", (number,))
    # The winner's body is in the row of the document, all others are here.
    there = {str(tree.winner), *(rev for (rev,) in rows)}
    return [{"rev": str(rev), "status": _status(rev, tree, there)} for rev in tree.path(tree.winner)]


def _status(rev: Rev, tree: RevTree, there: set[str]) -> str:
    # A revision without a row came as an ancestor only, or its body was compacted away.
    if str(rev) not in there:
        return "missing"
    return "deleted" if tree.is_deleted(rev) else "available"


class RevisionContent(NamedTuple):
    """The body and the attachments of a revision, from which a new revision is made."""

    text: bytes
    attachments: list[Attachment]
    deleted: bool = False


def load_revision(connection: Connection, database_id: int, id: str, rev: Rev | None) -> RevisionContent:
    """Return a revision of a document, or its winner if ``rev`` is None.

    Raises NotFoundError if it is not stored, or if the winner is a tombstone.
    """
    found = (
        _find_revision(connection, database_id, id, rev)
        if rev
        else require_living(find_winner(connection, database_id, id))
    )
    return RevisionContent(found.body, unpack(found.attachments), bool(found.deleted))


def _find_revision(connection: Connection, database_id: int, id: str, rev: Rev) -> StoredRevision:
    row = connection.execute(
        "SELECT number, rev, deleted, attachments, body FROM document WHERE database = ? AND id = ?", (database_id, id)
    ).fetchone()
    if row is None:
        raise NotFoundError("missing")
    number, *content = row
    found = StoredRevision(*content) if str(rev) == content[0] else stored_revision(connection, number, rev)
    if found is None:
        raise NotFoundError("missing")
    return found


def _select_revisions(tree: RevTree, revs: Sequence[Rev] | None, *, latest: bool, drawn: bool) -> Iterable[Rev]:
    """Return the revisions that ``open_revs`` asks for in CouchDB's order: known ones, then missing ones."""
    if revs is None:
        found = [*tree.leaves]
    elif latest:
        found = [leaf for rev in revs if rev in tree for leaf in tree.latest(rev)]
    else:
        found = [rev for rev in revs if rev in tree]
    missing = [rev for rev in revs or () if rev not in tree]
    there = dict.fromkeys(found)
    return [*(tree.in_tree_order(there) if drawn else sorted(there, key=lambda rev: rev.rank)), *missing]


def stored_revision(connection: Connection, number: int, rev: Rev | str) -> StoredRevision | None:
    """Return a revision that is superseded or a losing leaf, or None if it is not stored."""
    row = connection.execute(
        "SELECT rev, deleted, attachments, body FROM revision WHERE document = ? AND rev = ?", (number, str(rev))
    ).fetchone()
    return row and StoredRevision(*row)
