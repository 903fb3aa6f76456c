"""Writing revisions: where they go in a document's tree, which one wins, and what becomes of the others."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from couchmodel._embedded.documents import local
from couchmodel._embedded.documents.attachments import Attachment, pack, save, unpack
from couchmodel._embedded.documents.incoming import Edit, Incoming, Stub, validate_id
from couchmodel._embedded.documents.parents import parent_for
from couchmodel._embedded.documents.reader import Found, document_json, read_tree, stored_revision
from couchmodel._embedded.documents.validation import Listed, Validation, mark
from couchmodel._embedded.documents.verdicts import Author, Verdicts
from couchmodel._embedded.rules.partitions import check_id
from couchmodel._embedded.rules.revision_ids import revision_id
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage import garbage as clearing
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import encode
from couchmodel._wire.revisions import Rev, revisions_member
from couchmodel.errors import NotFoundError, PreconditionFailedError

__all__ = ["Check", "Writing", "used_blobs"]


class Check(NamedTuple):
    """What a write has to pass: its author's rights, and what design documents say.

    ``verdicts`` has what functions have said of the request's writes. ``admit`` raises UnauthorizedError or
    ForbiddenError for a write that the author may not do.
    """

    author: Author
    verdicts: Verdicts
    admit: Callable[[Edit], None] | None = None


class _Content(NamedTuple):
    """What is stored of a revision."""

    deleted: bool
    attachments: bytes | None
    body: bytes


class _Stored(NamedTuple):
    """A document as it is before a write."""

    id: str
    number: int
    rev: str
    content: _Content
    tree: RevTree


class Writing:
    """The writes of one request to one database, inside its transaction. ``finish`` ends it.

    The document of the last write is kept, and its row only written when another one's turn comes: a request may have
    thousands of revisions of one document.

    CouchDB looks documents up before it writes, and is stricter then, where functions may check them. It does not know
    whether there are any in a database that it has just opened, or to which a design document was written, until
    another document has been.
    """

    def __init__(self, connection: Connection, database: int, check: Check | None = None) -> None:
        """``check`` is put to each write that would be done.

        Raises NotFoundError where the database has been dropped meanwhile.
        """
        row = connection.execute(
            "SELECT update_seq, revs_limit, validated, partitioned,"
            " EXISTS (SELECT 1 FROM temp.routine WHERE database = number)"
            " FROM database WHERE number = ? AND name IS NOT NULL",
            (database,),
        ).fetchone()
        if row is None:
            raise NotFoundError("Database does not exist.")
        self._connection = connection
        self._admit = check and check.admit
        self._database = database
        self._seq, self._revs_limit, self._validated, self._partitioned, self._is_routine = row
        self._looks_up = bool(self._validated) or not self._is_routine
        self._verdicts = check and check.verdicts
        self._validation = Validation(connection, database, check.author, check.verdicts) if check else None
        self._repeated: frozenset[str] = frozenset()
        self._originals: dict[str, _Stored | None] = {}
        self._designed = False
        self._living = self._deleted = 0
        self._sequences: dict[str, int] = {}
        self._last: _Stored | None = None
        self._last_is_newer = False

    def finish(self) -> None:
        """Bring the rows of the last document and of the database up to date.

        Raises UnjudgedError where functions are to be asked first: nothing is written then.
        """
        if self._verdicts is not None:
            self._verdicts.require()
        self._put_back()
        self._connection.execute(
            "UPDATE database SET update_seq = ?, living = living + ?, deleted = deleted + ? WHERE number = ?",
            (self._seq, self._living, self._deleted, self._database),
        )
        if self._designed:
            mark(self._connection, self._database)
            self._connection.execute("DELETE FROM temp.routine WHERE database = ?", (self._database,))
        elif self._sequences and not self._is_routine:
            self._connection.execute("INSERT INTO temp.routine VALUES (?)", (self._database,))

    def expect(self, ids: Iterable[str], *, attachments: bool) -> None:
        """The request has such writes: one with an attachment or a design document lets CouchDB look all up."""
        self._looks_up |= attachments or any(id.startswith("_design/") for id in ids)

    def turns(self, places: Iterable[int], repeated: frozenset[str]) -> Iterator[int]:
        """The places of a request's documents, in their order, as far as they have a turn in this attempt.

        ``repeated`` are the ids of which there are several: functions compare each with what was there before the
        request, as in CouchDB.
        """
        if not self._validated or self._verdicts is None:
            yield from places
            return
        self._repeated = repeated
        for turn, place in enumerate(places):
            if turn < self._verdicts.first:
                continue
            if self._verdicts.are_enough:
                self._verdicts.resume = turn
                return
            yield place

    def edit(self, edit: Edit) -> str:
        """Write a new revision on top of the one that the edit names. The new revision.

        Raises:
            ConflictError: that revision is not the one to continue from.
            PreconditionFailedError: the revision has no attachment such as a stub says.
            UnauthorizedError, ForbiddenError, RefusedError: the write is refused.
            BadRequestError: a partitioned database has no such ids.
        """
        self._check_partition(edit)
        if edit.id.startswith("_local/"):
            return local.write(self._connection, self._database, edit)
        stored = self._stored(edit.id)
        parent = self._parent(edit, stored)
        if self._admit is not None:
            self._admit(edit)
        # Whoever names no revision has no attachments to refer to, although a tombstone may keep some.
        listed = self._checked(edit, stored, [parent] if parent and edit.path else [], edit.path[:1])
        if listed is None:
            return ""
        generation, previous = parent or (0, None)
        attachments = self._save_all(listed, generation + 1)
        digested = [(attachment.name, attachment.content_type, attachment.md5) for attachment in attachments]
        revives = stored is not None and stored.tree.deleted
        digest = revision_id(edit.deleted, generation, previous, edit.content, digested, revives=revives)
        history = edit.path if parent in edit.path else [parent] if parent else []
        new = Rev(generation + 1, digest)
        self._write(edit, stored, [new, *history], attachments)
        return str(new)

    def replicate(self, edit: Edit) -> str:
        """Take in a revision as it is, beside whatever is there. The revision.

        Raises UnauthorizedError, ForbiddenError, RefusedError, BadRequestError where the write is refused.
        """
        self._check_partition(edit)
        if edit.id.startswith("_local/"):
            return local.write(self._connection, self._database, edit)
        stored = self._stored(edit.id)
        if stored is None or not stored.tree.is_stored(edit.path[0]):
            if self._admit is not None:
                self._admit(edit)
            listed = self._checked(edit, stored, edit.path[1:], edit.path[1:])
            if listed is None:
                return ""
            self._write(edit, stored, edit.path, self._save_all(listed, None))
        return str(edit.path[0])

    def _checked(
        self, edit: Edit, stored: _Stored | None, bases: Sequence[Rev], older: Sequence[Rev]
    ) -> list[Listed] | None:
        """The attachments of a write that may be done; None where this attempt does not do it.

        A stub is that of the first of ``bases`` that is stored; the functions compare with the first of ``older``.
        """
        try:
            listed = self._listed(edit, stored, bases)
        except PreconditionFailedError:
            if self._is_tried:
                return None  # it may be that of a revision of the same request, which is not there yet
            raise
        self._validate(edit, listed, stored, older)
        return None if self._is_tried else listed

    @property
    def _is_tried(self) -> bool:
        """Whether this attempt writes nothing any more, since functions are to be asked first."""
        return self._verdicts is not None and self._verdicts.are_missing

    def _check_partition(self, edit: Edit) -> None:
        if self._partitioned:
            check_id(edit.id, validate_id)

    def _parent(self, edit: Edit, stored: _Stored | None) -> Rev | None:
        given, older = (edit.path[0], edit.path[1:]) if edit.path else (None, [])
        looked_up = self._looks_up or bool(edit.attachments) or edit.id.startswith("_design/")
        tree = stored.tree if stored else None
        return parent_for(tree, given, edit.deleted, older=older, looked_up=looked_up)

    def _validate(self, edit: Edit, listed: Sequence[Listed], stored: _Stored | None, bases: Sequence[Rev]) -> None:
        """Put a write to what checks it. ``bases`` are the revisions before it: the first that is stored counts."""
        if self._validation is None:
            return
        if edit.id.startswith("_design/"):
            self._validation.check_design(edit, partitioned=bool(self._partitioned))
        elif self._validated:
            if edit.id in self._repeated:
                stored = self._originals.setdefault(edit.id, stored)
            self._validation.check_document(edit, listed, stored and self._old(edit.id, stored, bases))

    def _old(self, id: str, stored: _Stored, bases: Sequence[Rev]) -> bytes | None:
        for rev in bases:
            found = self._revision(stored, rev) if rev in stored.tree else None
            if found is not None:
                history = encode({"_revisions": revisions_member(stored.tree.path(rev))})
                return document_json(id, found, b"," + history[1:-1])
        return None

    def _revision(self, stored: _Stored, rev: Rev) -> Found | None:
        if str(rev) == stored.rev:
            return Found(stored.rev, *stored.content)
        return stored_revision(self._connection, stored.number, rev)

    # --- attachments

    def _listed(self, edit: Edit, stored: _Stored | None, bases: Sequence[Rev]) -> list[Listed]:
        """The attachments of the new revision; a stub is that of the first of ``bases`` that is stored."""
        if not edit.attachments:
            return []
        stubbed = any(isinstance(item, Stub) for item in edit.attachments)
        there = {item.name: item for item in self._stored_attachments(stored, bases)} if stubbed and stored else {}
        return [_found(there, item, edit.id) if isinstance(item, Stub) else item for item in edit.attachments]

    def _save_all(self, listed: Sequence[Listed], generation: int | None) -> list[Attachment]:
        """What is new counts from ``generation`` on, and for a replicated revision from where it says itself."""
        return [
            item
            if isinstance(item, Attachment)
            else self._save(item, item.revpos if generation is None else generation)
            for item in listed
        ]

    def _stored_attachments(self, stored: _Stored, bases: Iterable[Rev]) -> list[Attachment]:
        for rev in map(str, bases):
            if rev == stored.rev:
                return unpack(stored.content.attachments)
            row = self._connection.execute(
                "SELECT attachments FROM revision WHERE document = ? AND rev = ?", (stored.number, rev)
            ).fetchone()
            if row:
                return unpack(row[0])
        return []

    def _save(self, item: Incoming, revpos: int) -> Attachment:
        content = item.content
        blob = save(self._connection, content)
        return Attachment(
            item.name,
            item.content_type,
            revpos,
            blob,
            content.digest,
            content.length,
            content.encoding,
            content.encoded_length,
        )

    # --- rows

    def _stored(self, id: str) -> _Stored | None:
        if self._last is None or self._last.id != id:
            if self._last_is_newer:
                self._put_back()
            self._last = self._read(id)
        return self._last

    def _read(self, id: str) -> _Stored | None:
        row = self._connection.execute(
            "SELECT number, rev, deleted, attachments, body, tree FROM document WHERE database = ? AND id = ?",
            (self._database, id),
        ).fetchone()
        if row is None:
            return None
        number, rev, deleted, attachments, body, tree = row
        return _Stored(id, number, rev, _Content(bool(deleted), attachments, body), read_tree(tree))

    def _put_back(self) -> None:
        """Bring the row of the last document up to date."""
        if self._last is None or not self._last_is_newer:
            return
        id, number, rev, content, tree = self._last
        self._connection.execute(
            "UPDATE document SET seq = ?, rev = ?, deleted = ?, attachments = ?, body = ?, tree = ? WHERE number = ?",
            (self._sequence(id), rev, *content, tree.to_bytes(), number),
        )
        self._last_is_newer = False

    def _write(self, edit: Edit, stored: _Stored | None, path: list[Rev], attachments: list[Attachment]) -> None:
        content = _Content(edit.deleted, pack(attachments), edit.text)
        if stored is None:
            number = self._insert(edit.id, path, content)
        else:
            number = stored.number
            self._update(edit.id, stored, path, content)
        if attachments:
            uses = [(attachment.blob, number) for attachment in attachments]
            self._connection.executemany("INSERT OR IGNORE INTO attachment_use VALUES (?, ?)", uses)
        if edit.id.startswith("_design/"):
            self._designed = self._validated = True
            if self._validation is not None:
                self._validation.forget()

    def _insert(self, id: str, path: list[Rev], content: _Content) -> int:
        tree = RevTree.empty().merge(path, deleted=content.deleted)
        cursor = self._connection.execute(
            "INSERT INTO document (database, id, seq, rev, deleted, attachments, body, tree)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (self._database, id, self._sequence(id), str(path[0]), *content, tree.stem(self._revs_limit).to_bytes()),
        )
        self._count(content.deleted, 1)
        return cursor.lastrowid or 0

    def _update(
        self,
        id: str,
        stored: _Stored,
        path: list[Rev],
        content: _Content,
    ) -> None:
        grown = stored.tree.merge(path, deleted=content.deleted)
        tree = grown.stem(self._revs_limit)
        winner, new = str(tree.winner), str(path[0])
        if winner == stored.rev:
            self._keep(stored.number, new, content)
            content = stored.content
        else:
            self._keep(stored.number, stored.rev, stored.content)
            if winner != new:
                self._keep(stored.number, new, content)
                content = self._take(stored.number, winner)
        self._sequence(id)
        self._last, self._last_is_newer = _Stored(id, stored.number, winner, content, tree), True
        self._count(stored.content.deleted, -1)
        self._count(content.deleted, 1)
        if tree is not grown:
            self._forget(stored.number, [rev for rev in grown.path(path[0])[self._revs_limit :] if rev not in tree])

    def _sequence(self, id: str) -> int:
        """The next sequence number; a document that is written more than once in a request has one all the same."""
        if id not in self._sequences:
            self._seq += 1
            self._sequences[id] = self._seq
        return self._sequences[id]

    def _keep(self, number: int, rev: str, content: _Content) -> None:
        self._connection.execute("INSERT OR REPLACE INTO revision VALUES (?, ?, ?, ?, ?)", (number, rev, *content))

    def _take(self, number: int, rev: str) -> _Content:
        row = self._connection.execute(
            "DELETE FROM revision WHERE document = ? AND rev = ? RETURNING deleted, attachments, body", (number, rev)
        ).fetchone()
        return _Content(bool(row[0]), row[1], row[2])

    def _forget(self, number: int, revs: list[Rev]) -> None:
        """Remove revisions that are older than the limit, and the contents that only they had."""
        had_attachments = False
        for rev in revs:
            row = self._connection.execute(
                "DELETE FROM revision WHERE document = ? AND rev = ? RETURNING attachments", (number, str(rev))
            ).fetchone()
            had_attachments |= row is not None and row[0] is not None
        if had_attachments:
            self._put_back()
            clearing.discard_uses(self._connection, number, keep=used_blobs(self._connection, number))

    def _count(self, deleted: bool, documents: int) -> None:
        if deleted:
            self._deleted += documents
        else:
            self._living += documents


def _found(there: dict[str, Attachment], stub: Stub, id: str) -> Attachment:
    found = there.get(stub.name)
    if found is None or stub.revpos not in (None, found.revpos):
        raise PreconditionFailedError(f"Invalid attachment stub in {id} for {stub.name}", code="missing_stub")
    return found


def used_blobs(connection: Connection, number: int) -> frozenset[int]:
    """The contents that the stored revisions of a document have."""
    rows = connection.execute(
        "SELECT attachments FROM document WHERE number = ? UNION ALL"
        " SELECT attachments FROM revision WHERE document = ?",
        (number, number),
    )
    return frozenset(attachment.blob for (packed,) in rows for attachment in unpack(packed))
