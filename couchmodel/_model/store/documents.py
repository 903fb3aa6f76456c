"""The documents of a model in a database: loaded and saved, one by one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from couchmodel._model.attachments.stubs import set_stubs, stored_stubs
from couchmodel._model.attachments.upload import (
    check_required,
    prepare_files,
    send_with_files,
    with_expected_stubs,
)
from couchmodel._model.codec import codec
from couchmodel._model.codec.changes import rollback
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.hooks import hooks_of
from couchmodel._model.schema.kinds import qualified_name
from couchmodel._model.store.bulk.results import Refused
from couchmodel._model.store.edits import add_merge, save_merged
from couchmodel._model.store.hooked import call_verb, overrides, prepare, restore_all, run_hooks
from couchmodel._model.store.overwriting import save_over
from couchmodel._model.store.revisions.basis import Basis
from couchmodel._model.store.revisions.doubt import ForkError, SaveResult, Sent, send_write, settle_write
from couchmodel._wire.messages import Request, decode, document_path, encode
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.engine import Database
from couchmodel.engine.bulk import row_error
from couchmodel.errors import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    CouchModelError,
    DocumentError,
    NotFoundError,
)
from couchmodel.types import BulkRow, WriteAnswer

__all__ = ["StoredDocuments"]

M = TypeVar("M", bound=DocumentModel)

_CHANGED: Final = "{id!r} was changed or deleted meanwhile: compare error.mine with error.theirs"
_TAKEN: Final = "document {id!r} exists already: load it with get() and change it, or use another id"


class StoredDocuments(Generic[M]):
    """The documents of ``model`` in ``database``. :class:`Repository` adds all that builds on them."""

    def __init__(self, model: type[M], database: Database) -> None:
        self.model = model
        self.database = database
        self.session = database.session
        self.path = database.path

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model.__name__} in {self.database.id!r}>"

    async def get(self, id: str, *, rev: str | None = None) -> M:
        """Load a document by its id; ``rev`` is an old revision of it, or another version that replication has left.

        CouchDB keeps old revisions until it compacts the database. Saving one is a conflict, unless ``force`` is given.

        Raises NotFoundError if it is missing or deleted; BadRequestError if ``rev`` is no revision; DocumentError if
        the document does not fit the model.
        """
        try:
            response = await self.session.send(Request("GET", self._path(id), {} if rev is None else {"rev": rev}))
        except NotFoundError as error:
            if rev is not None and error.reason != NO_DATABASE:
                error.hint = f"revision {rev} was never stored here, or was compacted away"
            raise self._with_hint(error) from None
        # CouchDB answers 404 for a deleted document, but 200 with the tombstone if the request names its revision.
        if rev is not None and decode(response.body).get("_deleted"):
            raise NotFoundError("deleted", hint=f"revision {rev} of {id!r} is its deletion")
        return self.load(response.body)

    async def get_or_none(self, id: str) -> M | None:
        """Load a document by its id, or return None if it is missing or deleted.

        Raises NotFoundError if the database is missing; DocumentError if the document does not fit the model.
        """
        try:
            return await self.get(id)
        except NotFoundError as error:
            if error.reason == NO_DATABASE:
                raise
            return None

    async def get_or_create(self, document: M) -> M:
        """Return the stored document of this id; if there is none, store ``document`` and return it.

        Of several programs that do this at once, one stores its document, and the others get that one.
        """
        self._path_of(document)
        # The read comes first, because a save runs hooks, which must not run for a document that is not stored.
        found = await self.get_or_none(document.id)
        if found is not None:
            return found
        try:
            # The hooks after the save come later: an error of theirs is no conflict of this document.
            result = await (
                call_verb("save", document, self) if overrides(type(document), "save") else self._store(document)
            )
        except ConflictError:
            return await self.get(document.id)
        await self.finish(document, result)
        return document

    async def save(self, document: M, *, force: bool = False) -> SaveResult:
        """Store a document. Sends nothing if nothing has changed since it was loaded or saved.

        Files that were assigned to its attachments are stored with it, in one revision.

        With ``force`` it is stored in place of whatever is stored under its id: another revision, a deletion, or a
        document that does not fit the model. Members that the model does not know, and attachments, are those that are
        stored. Other versions that replication has left stay.

        A write whose answer was lost or was cancelled earlier, or that less than a majority of a cluster's nodes have
        accepted, is settled by reading again. If others have stored another revision at the same time on other nodes,
        both are merged by the policies of the fields, and the document has the merged values then.

        Raises ConflictError, with ``base``, ``mine`` and ``theirs``, if another revision is stored by now, or if a
        field clashes in such a merge; DocumentError, before anything is stored, if the document does not fit its model;
        AttachmentError if a file cannot be read or breaks the rules of its field; ConfigurationError if it comes from
        another database; TransportError if no answer came, and the write is not stored so far. What is not stored
        leaves the document as it was.
        """
        self._check_model(document)
        if force:
            self._check_repository(document)
            self._path_of(document)
            result = await save_over(self, document)
        else:
            result = await self._store(document)
        await self.finish(document, result)
        return result

    async def _store(self, document: M) -> SaveResult:
        """Store a document as :meth:`save` does, without the hooks that come after it."""
        self._check_model(document)
        rev = document.rev
        before = await self.prepare(document)
        try:
            return await self.send(document)
        except DocumentError:
            if document.rev == rev:  # nothing was stored
                restore_all([(document, before)])
            raise

    async def send(self, document: M, body: bytes | None = None) -> SaveResult:
        """Store a document for which the hooks before a save have run, and no others yet.

        ``body`` is its text, if that is known.
        """
        try:
            return await self.send_once(document, body)
        # A ForkError is a ConflictError, too, so this clause comes first.
        except ForkError:
            return await save_merged(self, document)
        except ConflictError as error:
            raise await self.complete_conflict(error, document) from None

    async def prepare(self, document: M) -> M | None:
        """Run the hooks before a save, and return a copy of the document as it was before; None if no hook ran."""
        self._check_model(document)
        await self._load_bases([document])
        copy: M | None = await prepare(document)
        return copy

    async def finish(self, document: M, result: SaveResult | None) -> None:
        """Run the hooks after a save; ``result`` is None if the class of the document has its own ``save``.

        The document is stored by now, whatever they raise. So they run where no error of a save is caught.
        """
        if result is not None and result.is_sent:
            await run_hooks(document, "after_save")

    async def send_once(self, document: M, body: bytes | None = None) -> SaveResult:
        """Store a document as :meth:`send` does. A ConflictError is not completed, so that a caller can wait first."""
        path = self._path_of(document)
        files = await prepare_files(document)
        # Files of a document without other changes are stored with the text that is stored already.
        body = body or codec.body_to_send(document) or (state.stored_body(document) if files else None)
        if body is None:
            return SaveResult(is_sent=False)
        # An attachment is required of what is sent only. A stored document that lacks it can be loaded and left
        # unchanged.
        check_required(document)
        # ``note_saved`` replaces the basis, and settling a fork needs the one before.
        before = Basis.of(document)
        try:
            sent = await send_write(
                self,
                document,
                with_expected_stubs(body, files),
                lambda: send_with_files(self.session, path, document, body, files),
            )
        except NotFoundError as error:
            raise self._with_hint(error) from None
        self.note_saved(document, sent.body, sent.rev)
        # A write that was found has no answer to take stubs from, so they are those of the revision that was read.
        if sent.is_found:
            set_stubs(document, stored_stubs(document))
            state.forget_files(document, sent.files)
        if sent.is_in_doubt:
            await self._settle(document, before, sent, files)
        if sent.is_earlier:  # what was changed after an earlier attempt was sent is saved now
            await self.send_once(document)
        return SaveResult(is_accepted=sent.is_accepted)

    async def _settle(self, document: M, before: Basis, sent: Sent, files: Mapping[str, Any]) -> None:
        try:
            await settle_write(self, document, before, sent)
        except ForkError:
            # The own version, which has the files, has given way, so they are sent again with the next attempt.
            for name, file in files.items():
                state.set_file(document, name, file)
            raise

    async def change_attachment(self, document: M, write: Callable[[], Awaitable[WriteAnswer]]) -> None:
        """Run a write of one attachment, which makes a new revision of its document, and settle it if it is in doubt.

        Raises ConflictError, with the versions, if another revision is stored by now; the errors of ``write``.
        """
        # The time of the write is measured, because a fork is waited for in proportion to it.
        before, clock = Basis.of(document), asyncio.get_running_loop().time
        begun = clock()
        try:
            answer = await write()
            if answer.get("accepted"):
                sent = Sent(b"", answer["rev"], clock() - begun, is_accepted=True, is_in_doubt=True)
                await settle_write(self, document, before, sent)
        except ConflictError as error:
            raise await self.complete_conflict(error, document) from None

    async def refresh(self, document: M) -> None:
        """Load the stored revision into a document, and drop its unsaved changes. Transfers nothing if it has it.

        Raises NotFoundError if the document is missing or deleted; DocumentError if it is of another type by now, or
        does not fit the model.
        """
        self._check_model(document)
        path = self._path(document.id)
        # The ETag of a document is its revision in quotes, so the answer for an unchanged one is a 304 without a body.
        headers = {} if document.rev is None else {"if-none-match": f'"{document.rev}"'}
        try:
            response = await self.session.send(Request("GET", path, headers=headers))
        except NotFoundError as error:
            raise self._with_hint(error) from None
        if response.status == 304:
            rollback(document)
            return
        stored = self.load(response.body)
        # The two classes are compared by name, because a class that is defined again replaces itself.
        if qualified_name(type(stored)) != qualified_name(type(document)):
            said = (
                f"{document.id!r} is a {type(stored).__name__} by now, no {type(document).__name__}: load it with get()"
            )
            raise DocumentError(said, model=type(document).__name__, document_id=document.id, errors=[])
        codec.adopt(document, stored)

    async def complete_conflict(self, error: ConflictError, document: M) -> ConflictError:
        """Complete a conflict error with the id, the three versions of the document and a hint, and return it."""
        try:
            # A new document may have the id of a document of another model. That is a conflict, too, although
            # ``theirs`` cannot be loaded.
            theirs = await self.get_or_none(document.id)
        except DocumentError as misfit:
            if document.rev is not None:
                raise
            self._note_versions(error, document, None)
            error.hint = f"{error.hint}; it does not fit the model: {misfit}"
        else:
            self._note_versions(error, document, theirs)
        return error

    def _note_versions(self, error: ConflictError, document: M, theirs: M | None) -> None:
        error.document_id = document.id
        error.mine, error.base, error.theirs = document, codec.base_of(document), theirs
        error.hint = (_TAKEN if document.rev is None else _CHANGED).format(id=document.id)
        add_merge(error)

    def load(self, row: bytes) -> M:
        """Return the document of a JSON text. Raises DocumentError if it does not fit the model."""
        try:
            document = codec.load(self.model, row, self)
        except DocumentError as error:
            error.is_stored = True
            raise
        for name in hooks_of(type(document), "after_load"):
            getattr(document, name)()
        return document

    def _path_of(self, document: M) -> tuple[str, ...]:
        """Return the path of a document, whose id is made of its fields if the model says so.

        Raises ConfigurationError for a document of another model.
        """
        self._check_model(document)
        codec.settle_id(document)
        return self._path(document.id)

    def _path(self, id: str) -> tuple[str, ...]:
        """Return the path of a document. Raises BadRequestError for an id that no document of a model has."""
        if isinstance(id, str) and id.startswith("_"):
            raise BadRequestError(
                f"{id!r} is not the id of a {self.model.__name__}: ids that begin with an underscore are CouchDB's own"
            )
        return document_path(self.path, id)

    def note_saved(self, document: M, body: bytes, rev: str) -> None:
        """Record that a text is stored as this revision of a document."""
        codec.note_stored(document, body, rev)
        state.set_repository(document, self)

    def _note_row(self, row: BulkRow, document: M, body: bytes) -> CouchModelError | None:
        """Record CouchDB's row for a document of a bulk write. Return the error if the document was refused."""
        if "rev" in row:
            self.note_saved(document, body, row["rev"])
            return None
        return self._row_error(row, document)

    def _note_deleted_row(self, row: BulkRow, document: M, body: bytes) -> CouchModelError | None:
        """Record CouchDB's row for the deletion of a document. Return the error if it was refused."""
        if "rev" in row:
            codec.note_deleted(document)
            return None
        return self._row_error(row, document)

    def _row_error(self, row: BulkRow, document: M) -> CouchModelError:
        error = row_error(row, f"/{self.database.id}/{document.id}")
        if isinstance(error, ConflictError):
            error.document_id, error.mine, error.base = document.id, document, codec.base_of(document)
        return error

    def _check_model(self, document: Any) -> None:
        if isinstance(document, self.model):
            return
        # By name, as a class that is defined again, as in a notebook, replaces itself.
        if qualified_name(self.model) not in map(qualified_name, type(document).__mro__):
            said = (
                f"a document of {type(document).__name__}" if isinstance(document, DocumentModel) else f"{document!r}"
            )
            raise ConfigurationError(
                f"{said} is no {self.model.__name__}: documents are saved and deleted by their own model"
            )

    def _revision_to_delete(self, document: M) -> str:
        """Return the revision of a document. Raises ConfigurationError if it is not one of this database."""
        self._check_model(document)
        self._check_repository(document)
        if document.rev is None:
            raise ConfigurationError(
                f"{document.id!r} cannot be deleted, because it is not stored: load or save it first"
            )
        return document.rev

    def _check_repository(self, document: M) -> None:
        source = state.repository(document)
        if document.rev is None or source is None or (source.session, source.path) == (self.session, self.path):
            return
        # A document that outlived its connection may be saved over a new one, which may lead to the same store.
        if source.path != self.path or not source.session.is_closed:
            raise ConfigurationError(
                f"{document.id!r} comes from database {source.database.id!r}, so it cannot be saved to or deleted from"
                f" {self.database.id!r}: to store a copy there, save document.model_copy(update={{'rev': None}})"
            )

    async def _load_bases(self, documents: Iterable[M], refused: Refused[M] | None = None) -> None:
        """Load the stored revisions of documents that have a revision but were not loaded, such as one of a web form.

        Such a document lacks the members and attachments that its model does not know. Without this, storing it would
        lose them. A document that cannot be saved here is added to ``refused``; without that, its error is raised.
        """
        unknown: list[M] = []
        for document in documents:
            try:
                self._check_repository(document)
                if document.rev is not None and codec.base_of(document) is None:
                    unknown.append(document)
            except CouchModelError as error:
                if refused is None:
                    raise
                refused.append((document, error))
        if not unknown:
            return
        wanted = encode({"docs": [{"id": document.id, "rev": document.rev} for document in unknown]})
        try:
            answer = await self.session.json(Request("POST", (*self.path, "_bulk_get"), body=wanted))
        except NotFoundError as error:
            raise self._with_hint(error) from None
        # _bulk_get has one result for each id and revision, in the order of the request.
        for document, result in zip(unknown, answer["results"], strict=True):
            found = result["docs"][0].get("ok")
            # If the revision is missing there is no base, and the write will be refused as a conflict.
            state.set_stored_body(document, encode(found) if found else None)

    def _with_hint(self, error: NotFoundError) -> NotFoundError:
        if error.reason == NO_DATABASE:
            error.hint = f"create it with `await couch.apply({self.model.__name__})`"
        return error
