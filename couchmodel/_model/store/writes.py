"""Writes of many documents of a model, and what becomes of each of them."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from couchmodel._model.attachments.inline import note_inline_files
from couchmodel._model.codec import codec
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.store.bulk.results import Progress, Refused, document_bodies
from couchmodel._model.store.documents import StoredDocuments
from couchmodel._model.store.hooked import call_verb, has_hooks, run_hooks
from couchmodel._model.store.revisions.basis import Basis
from couchmodel._model.store.revisions.doubt import find_own
from couchmodel._model.store.settled_rows import Accepted, settle_accepted
from couchmodel._wire.messages import EMPTY, decode, encode
from couchmodel.engine._io.lost_answers import NO_ANSWER_ERRORS, find_own_writes, may_be_carried_out
from couchmodel.engine.bulk import write_in_batches
from couchmodel.errors import (
    ConflictError,
    CouchModelError,
    DocumentError,
    NotFoundError,
    ResponseError,
    TransportError,
)
from couchmodel.types import BulkRow

__all__ = ["DocumentWrites", "deletion_left"]

M = TypeVar("M", bound=DocumentModel)

NoteRow = Callable[[BulkRow, M, bytes], CouchModelError | None]


class DocumentWrites(StoredDocuments[M]):
    """The documents of ``model`` in ``database``, with the steps of which bulk writes are made."""

    async def _bodies(self, ids: Sequence[str]) -> AsyncGenerator[bytes | None, None]:
        try:
            async with aclosing(document_bodies(self.database, ids)) as bodies:
                async for body in bodies:
                    yield body
        except NotFoundError as error:
            raise self._with_hint(error) from None

    async def _complete_conflicts(self, refused: Refused[M]) -> None:
        """Give conflicts the versions of their documents that are stored now, which are read together."""
        conflicts = [(document, error) for document, error in refused if isinstance(error, ConflictError)]
        unread = iter(conflicts)
        # The results are worth more than these versions, so a failure to read them is not raised.
        with suppress(TransportError, ResponseError):
            async with aclosing(self._bodies([document.id for document, _ in conflicts])) as bodies:
                async for body in bodies:
                    self._note_stored_version(*next(unread), body)

    def _note_stored_version(self, document: M, error: ConflictError, body: bytes | None) -> None:
        try:
            theirs = None if body is None else self.load(body)
        except DocumentError as misfit:
            error.hint = f"what is stored now does not fit the model: {misfit}"
        else:
            self._note_versions(error, document, theirs)

    async def _write_many(
        self,
        sent: Sequence[tuple[M, bytes]],
        progress: Progress | None = None,
        note_row: NoteRow[M] | None = None,
        body_of: Callable[[M], bytes | None] = codec.body_to_send,
    ) -> Refused[M]:
        """Send documents with their texts, and return those that were refused.

        ``note_row`` records CouchDB's row for a document, and returns the error if there is one. A write of an earlier
        attempt that got no answer, but was carried out, is recognized. ``body_of`` returns the text that is to be sent
        after that, if any.
        """
        note_row, progress = note_row or self._note_row, progress or Progress()
        refused: Refused[M] = []
        accepted: list[Accepted[M]] = []
        # The documents that are left in the iterator when a request fails have got no answer.
        unsettled = iter(sent)
        try:
            # The result of each request is recorded before the next one, which may fail.
            async for rows in write_in_batches(self.session, self.path, [body for _, body in sent]):
                for row in rows:
                    document, body = next(unsettled)
                    # The basis is taken before ``note_row`` replaces it.
                    if "accepted" in row and "rev" in row:
                        accepted.append(Accepted(document, Basis.of(document), body, row["rev"]))
                    if error := note_row(row, document, body):
                        refused.append((document, error))
                progress.add(len(rows))
        except NotFoundError as error:
            raise self._with_hint(error) from None
        except NO_ANSWER_ERRORS as error:
            if may_be_carried_out(error):
                for document, body in unsettled:
                    state.note_unanswered(document, body)
            raise
        if accepted:
            settled = await settle_accepted(self, accepted)
            refused += settled
            failed = {id(document) for document, _ in settled}
            progress.accepted += [each.document for each in accepted if id(each.document) not in failed]
        return await self._settle_own(refused, note_row, body_of)

    async def _settle_own(
        self, refused: Refused[M], note_row: NoteRow[M], body_of: Callable[[M], bytes | None]
    ) -> Refused[M]:
        """Record what earlier attempts have stored or deleted, write what is left to write, and return the others."""
        conflicts = [document for document, error in refused if isinstance(error, (ConflictError, NotFoundError))]
        tried = [(document, body) for document in conflicts for body in state.unanswered_bodies(document)]
        if not tried:
            return refused
        found = await find_own_writes(self.session, self.path, [body for _, body in tried])
        # An earlier attempt is a current revision first of all. If others have written on top of it, it is found among
        # the older ones.
        own: set[int] = set()
        for (document, body), rev in zip(tried, found, strict=True):
            if rev is not None and id(document) not in own:
                own.add(id(document))
                self._note_own(document, body, body, rev)
        for document in conflicts:
            if id(document) not in own and (below := await find_own(self, document)) is not None:
                own.add(id(document))
                self._note_own(document, below[0].sent, encode(below[0].stored), below[0].rev)
        left = [(document, error) for document, error in refused if id(document) not in own]
        changed: list[tuple[M, bytes]] = []
        for document in conflicts:
            # ``==`` compares bound methods; ``is`` would not, because each access makes a new one. Only a save sends
            # files.
            if id(document) in own and note_row == self._note_row and state.assigned_files(document):
                left += await self._write_one_by_one([document], Progress())
            elif id(document) in own and (rest := body_of(document)) is not None:
                changed.append((document, rest))
        return left + await self._write_many(changed, None, note_row, body_of) if changed else left

    def _note_own(self, document: M, sent: bytes, stored: bytes, rev: str) -> None:
        """Record an earlier attempt that was carried out. It may have been a save or a deletion."""
        if decode(sent).get("_deleted"):
            codec.note_deleted(document)
            return
        # Only the files of that attempt are stored. Others may have been assigned since.
        files = state.unanswered_files(document, sent)
        self.note_saved(document, stored, rev)
        note_inline_files(document)
        state.forget_files(document, files)

    async def _run_after(self, event: str, documents: Sequence[M], refused: Refused[M]) -> list[Exception]:
        """Run the hooks of an event for the documents that were not refused, and return the errors of those that raise.

        The documents are stored or deleted by now, so one whose hook raises keeps no other from its hook.
        """
        errors: list[Exception] = []
        if not has_hooks(set(map(type, documents)), event):
            return errors
        failed = {id(document) for document, _ in refused}
        for document in documents:
            if id(document) not in failed:
                try:
                    await run_hooks(document, event)
                except Exception as error:  # noqa: BLE001 - the caller raises it
                    errors.append(error)
        return errors

    async def _write_one_by_one(self, documents: Sequence[M], progress: Progress) -> Refused[M]:
        """Save documents with their files, each by a request of its own, and return those that were refused."""
        refused: Refused[M] = []
        for document in documents:
            try:
                result = await self.send(document)
                progress.accepted += [document] if result.is_accepted else []
            # TransportError is a CouchModelError, but says nothing of this document: the next one would fail, too.
            except TransportError:
                raise
            except CouchModelError as error:
                refused.append((document, error))
            progress.add(1)
        return refused

    async def _write_by_class(
        self, verb: str, documents: Sequence[M], progress: Progress, remarks: Mapping[str, Any] = EMPTY
    ) -> Refused[M]:
        """Save or delete documents by the method of their class, and return those that were refused."""
        refused: Refused[M] = []
        for document in documents:
            try:
                await call_verb(verb, document, self, **remarks)
            except TransportError:
                raise
            except CouchModelError as error:
                refused.append((document, error))
            progress.add(1)
        return refused


def deletion_left(remarks: Mapping[str, Any], document: DocumentModel) -> bytes | None:
    """Return the text of the deletion of a document; None if it is deleted by now."""
    return None if document.rev is None else codec.tombstone(document, remarks)
