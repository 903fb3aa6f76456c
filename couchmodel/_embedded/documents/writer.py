"""Write revisions as a request asks for them: find the parent, check the write, store contents, make the revision id.

There are two kinds of writes. An edit continues a leaf, and its revision id is computed here; a replicated revision has
its id already, and goes wherever its ancestors are. ``document_table`` changes the rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.documents import local
from couchmodel._embedded.documents.attachments import Attachment, pack
from couchmodel._embedded.documents.contents import save_content
from couchmodel._embedded.documents.document_table import DocumentTable, RevisionContent, StoredDocument
from couchmodel._embedded.documents.incoming import AttachmentStub, Edit, IncomingAttachment, validate_id
from couchmodel._embedded.documents.parents import parent_for
from couchmodel._embedded.documents.reader import document_json
from couchmodel._embedded.documents.validation import NewAttachment, Validation, mark_validated
from couchmodel._embedded.documents.verdicts import Author, Verdicts
from couchmodel._embedded.rules.partitions import check_id
from couchmodel._embedded.rules.revision_ids import revision_id
from couchmodel._embedded.storage.database_row import read_row
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import encode
from couchmodel._wire.revisions import Rev, revisions_member
from couchmodel.errors import PreconditionFailedError

__all__ = ["WriteBatch", "WriteCheck"]


class WriteCheck(NamedTuple):
    """The checks of the writes of one request: the rights of the author, and validation functions.

    ``verdicts`` are the verdicts of validation functions on these writes. ``admit`` raises UnauthorizedError or
    ForbiddenError for a write that the author has no right to do.
    """

    author: Author
    verdicts: Verdicts
    admit: Callable[[Edit], None] | None = None


class WriteBatch:
    """The writes of one request to one database, inside its transaction. ``finish`` ends them.

    If validation functions may exist, CouchDB looks documents up before it writes, and then refuses more: see
    ``parent_for``. It assumes such functions in a database that it has just opened, or to which a design document was
    just written, until another document has been written. The table ``temp.routine`` lists the databases where this
    assumption has ended.
    """

    def __init__(self, connection: Connection, database_id: int, check: WriteCheck | None = None) -> None:
        """Read the state of the database. ``check`` is applied to each write.

        Raises NotFoundError if the database has been dropped in the meantime.
        """
        columns = (
            "update_seq, revs_limit, validated, partitioned,"
            " EXISTS (SELECT 1 FROM temp.routine WHERE database = number)"
        )
        row = read_row(connection, database_id, columns)
        self._connection = connection
        self._admit = check and check.admit
        self._database_id = database_id
        seq, revs_limit, self._validated, self._partitioned, self._is_routine = row
        self._table = DocumentTable(connection, database_id, seq, revs_limit)
        self._looks_up = bool(self._validated) or not self._is_routine
        self._verdicts = check and check.verdicts
        self._validation = Validation(connection, database_id, check.author, check.verdicts) if check else None
        self._repeated_ids: frozenset[str] = frozenset()
        self._originals: dict[str, StoredDocument | None] = {}
        self._wrote_design = False

    def finish(self) -> None:
        """Write the row of the last document, and update the row of the database.

        Raises MissingVerdictsError if validation functions have to run first. The transaction then writes nothing.
        """
        if self._verdicts is not None:
            self._verdicts.require()
        self._table.finish()
        if self._wrote_design:
            mark_validated(self._connection, self._database_id)
            self._connection.execute("DELETE FROM temp.routine WHERE database = ?", (self._database_id,))
        elif self._table.has_changed and not self._is_routine:
            self._connection.execute("INSERT INTO temp.routine VALUES (?)", (self._database_id,))

    def expect(self, ids: Iterable[str], *, attachments: bool) -> None:
        """Announce the ids of the request's documents, and whether any of them has ``attachments``.

        CouchDB looks up all documents of a request if one has an attachment or is a design document.
        """
        # For all of them, and before the first is written: CouchDB decides for the whole request.
        self._looks_up |= attachments or any(id.startswith("_design/") for id in ids)

    def due_places(self, places: Sequence[int], ids: Sequence[str], repeated: frozenset[str]) -> Iterator[int]:
        """Yield the indexes of the request's documents that this attempt has to handle, in the order of ``places``.

        ``ids`` are the ids of the documents, and ``repeated`` those that occur several times in the request. For each
        occurrence, validation functions get the document from before the request as the old one, as in CouchDB.
        """
        verdicts = self._verdicts if self._validated else None
        if verdicts is not None:
            self._repeated_ids = repeated
        first = verdicts.first if verdicts else 0
        for start in range(first, len(places), limits.LOOKED_UP_DOCUMENTS):
            due = places[start : start + limits.LOOKED_UP_DOCUMENTS]
            self._table.look_up([ids[place] for place in due])
            for turn, place in enumerate(due, start):
                if verdicts is not None and verdicts.has_too_many_open:
                    verdicts.resume = turn
                    return
                yield place

    def edit(self, edit: Edit) -> str:
        """Write a new revision on top of the one that the edit names, and return the new revision.

        The result is empty if this attempt does not write: see ``Verdicts``.

        Raises:
            ConflictError: the edit does not continue a leaf of the document.
            PreconditionFailedError: a stub names an attachment that the parent revision does not have.
            UnauthorizedError, ForbiddenError, RefusedError: the write is refused.
            BadRequestError: the id is not valid in a partitioned database.
        """
        if self._partitioned:
            check_id(edit.id, validate_id)
        if edit.id.startswith("_local/"):
            return local.write_local(self._connection, self._database_id, edit)
        stored = self._table.find(edit.id)
        parent = self._find_parent(edit, stored)
        if self._admit is not None:
            self._admit(edit)
        # A write that names no revision cannot have stubs, although its parent may be a tombstone with attachments.
        resolved = self._check(edit, stored, [parent] if parent and edit.path else [], edit.path[:1])
        if resolved is None:
            return ""
        generation, previous = parent or (0, None)
        attachments = self._save_all(resolved, generation + 1) if resolved else []
        digested = [(attachment.name, attachment.content_type, attachment.md5) for attachment in attachments]
        revives = stored is not None and stored.tree.deleted
        digest = revision_id(edit.deleted, generation, previous, edit.content, digested, revives=revives)
        # A document that is created again continues its tombstone, which the edit does not name.
        history = edit.path if parent in edit.path else [parent] if parent else []
        new = Rev(generation + 1, digest)
        self._write(edit, stored, [new, *history], attachments)
        return str(new)

    def replicate(self, edit: Edit) -> str:
        """Write a replicated revision with its own revision id (``new_edits=false``), and return the revision.

        The result is empty if this attempt does not write: see ``Verdicts``.

        Raises:
            PreconditionFailedError: a stub names an attachment that no stored ancestor has.
            UnauthorizedError, ForbiddenError, RefusedError: the write is refused.
            BadRequestError: the id is not valid in a partitioned database.
        """
        if self._partitioned:
            check_id(edit.id, validate_id)
        if edit.id.startswith("_local/"):
            return local.write_local(self._connection, self._database_id, edit)
        stored = self._table.find(edit.id)
        # Replicators may send a revision twice. The second time is a success that changes nothing.
        if stored is None or not stored.tree.is_stored(edit.path[0]):
            if self._admit is not None:
                self._admit(edit)
            resolved = self._check(edit, stored, edit.path[1:], edit.path[1:])
            if resolved is None:
                return ""
            self._write(edit, stored, edit.path, self._save_all(resolved, None))
        return str(edit.path[0])

    def _check(
        self, edit: Edit, stored: StoredDocument | None, bases: Sequence[Rev], older: Sequence[Rev]
    ) -> list[NewAttachment] | None:
        """Check a write, and return the attachments of the new revision, or None if this attempt may not write.

        Stubs refer to the first of ``bases`` that is stored. Validation functions get the first of ``older`` that is
        stored as the old document.
        """
        try:
            resolved = self._resolve_stubs(edit, stored, bases) if edit.attachments else []
        except PreconditionFailedError:
            if self._may_not_write:
                return None  # the parent may be in the same request, and this attempt has not written it
            raise
        self._validate(edit, resolved, stored, older)
        return None if self._may_not_write else resolved

    @property
    def _may_not_write(self) -> bool:
        """True if this attempt may not write any more, since validation functions have to run first."""
        return self._verdicts is not None and self._verdicts.are_missing

    def _find_parent(self, edit: Edit, stored: StoredDocument | None) -> Rev | None:
        given, older = (edit.path[0], edit.path[1:]) if edit.path else (None, [])
        looked_up = self._looks_up or bool(edit.attachments) or edit.id.startswith("_design/")
        tree = stored.tree if stored else None
        return parent_for(tree, given, edit.deleted, older=older, looked_up=looked_up)

    def _validate(
        self, edit: Edit, resolved: Sequence[NewAttachment], stored: StoredDocument | None, bases: Sequence[Rev]
    ) -> None:
        """Check a write by the rules of design documents, or by validation functions.

        The first of ``bases`` that is stored is the old document.
        """
        if self._validation is None:
            return
        if edit.id.startswith("_design/"):
            self._validation.check_design(edit, partitioned=bool(self._partitioned))
        elif self._validated:
            if edit.id in self._repeated_ids:
                stored = self._originals.setdefault(edit.id, stored)
            self._validation.check_document(edit, resolved, stored and self._old_json(edit.id, stored, bases))

    def _old_json(self, id: str, stored: StoredDocument, bases: Sequence[Rev]) -> bytes | None:
        """Return the JSON of the first of ``bases`` that is stored, as validation functions see it."""
        for rev in bases:
            found = self._table.find_revision(stored, rev) if rev in stored.tree else None
            if found is not None:
                history = encode({"_revisions": revisions_member(stored.tree.path(rev))})
                return document_json(id, found, b"," + history[1:-1])
        return None

    # --- attachments

    def _resolve_stubs(self, edit: Edit, stored: StoredDocument | None, bases: Sequence[Rev]) -> list[NewAttachment]:
        """Return the attachments of the edit. Stubs become those of the first of ``bases`` that is stored."""
        has_stubs = any(isinstance(item, AttachmentStub) for item in edit.attachments)
        older = self._table.find_attachments(stored, bases) if has_stubs and stored else []
        inherited = {item.name: item for item in older}
        return [
            _resolve_stub(inherited, item, edit.id) if isinstance(item, AttachmentStub) else item
            for item in edit.attachments
        ]

    def _save_all(self, resolved: Sequence[NewAttachment], generation: int | None) -> list[Attachment]:
        """Store the contents that come with a write, and return all its attachments.

        The ``revpos`` of new attachments is ``generation``. If that is None, the write is a replicated one, and they
        keep their own.
        """
        return [
            item
            if isinstance(item, Attachment)
            else self._save(item, item.revpos if generation is None else generation)
            for item in resolved
        ]

    def _save(self, item: IncomingAttachment, revpos: int) -> Attachment:
        content = item.content
        blob = save_content(self._connection, content)
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

    def _write(self, edit: Edit, stored: StoredDocument | None, path: list[Rev], attachments: list[Attachment]) -> None:
        """Store a revision. ``path`` is the revision and its ancestors, newest first."""
        content = RevisionContent(edit.deleted, pack(attachments), edit.text)
        self._table.store(edit.id, stored, path, content, attachments)
        if edit.id.startswith("_design/"):
            # The new functions apply to the later documents of the same request.
            self._wrote_design = self._validated = True
            if self._validation is not None:
                self._validation.forget()


def _resolve_stub(inherited: dict[str, Attachment], stub: AttachmentStub, id: str) -> Attachment:
    """Return the attachment that a stub names. Raises PreconditionFailedError if the parent does not have it."""
    found = inherited.get(stub.name)
    if found is None or stub.revpos not in (None, found.revpos):
        raise PreconditionFailedError(f"Invalid attachment stub in {id} for {stub.name}", code="missing_stub")
    return found
