"""The documents of a model in a database: loaded and saved, one by one and together."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

from couchmodel._model.codec import codec
from couchmodel._model.codec.changes import rollback
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.hooks import hooks_of
from couchmodel._model.schema.kinds import qualified_name
from couchmodel._model.store.bulk import SaveReport, document_bodies, raise_refused
from couchmodel._model.store.edits import add_merge, save_merged
from couchmodel._model.store.hooked import has_hooks, prepare, run_hooks
from couchmodel._model.store.revisions.doubt import ForkError, SaveResult, StoredState, send_write, settle_write
from couchmodel._wire.messages import Request, document_path, encode
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.engine import Database
from couchmodel.engine.bulk import row_error, write_in_batches
from couchmodel.errors import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    CouchModelError,
    DocumentError,
    NotFoundError,
    QueryError,
)
from couchmodel.types import BulkRow

__all__ = ["StoredDocuments"]

M = TypeVar("M", bound=DocumentModel)

_CHANGED: Final = "{id!r} was changed or deleted meanwhile: compare error.mine with error.theirs"
_TAKEN: Final = "document {id!r} exists already: load it with get() and change it, or use another id"


class StoredDocuments(Generic[M]):
    """The documents of ``model`` in ``database``. :class:`Repository` adds queries and all that builds on them."""

    def __init__(self, model: type[M], database: Database) -> None:
        self.model = model
        self.database = database
        self.session = database.session
        self.path = database.path

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model.__name__} in {self.database.id!r}>"

    async def get(self, id: str) -> M:
        """Load a document by its id.

        Raises NotFoundError if it is missing or deleted; DocumentError if it does not fit the model.
        """
        try:
            response = await self.session.send(Request("GET", self._path(id)))
        except NotFoundError as error:
            raise self._with_hint(error) from None
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

    async def get_many(self, ids: Iterable[str]) -> list[M | None]:
        """Load documents by their ids, with few requests. None stands for one that is missing or deleted.

        Raises NotFoundError if the database is missing; DocumentError if a document does not fit the model.
        """
        if isinstance(ids, str):
            raise QueryError(f"get_many() takes several ids, as in [{ids!r}], not a text")
        wanted = list(ids)
        for each in wanted:
            self._path(each)
        try:
            bodies = [body async for body in document_bodies(self.database, wanted)]
        except NotFoundError as error:
            raise self._with_hint(error) from None
        return [None if body is None else self.load(body) for body in bodies]

    async def get_or_create(self, document: M) -> M:
        """Return the stored document of this id; if there is none, store ``document`` and return it.

        Of several programs that do this at once, one stores its document, and the others get that one.
        """
        self._path_of(document)
        found = await self.get_or_none(document.id)
        if found is not None:
            return found
        try:
            await self.save(document)
        except ConflictError:
            return await self.get(document.id)
        return document

    async def save(self, document: M) -> SaveResult:
        """Store a document. Sends nothing if nothing has changed since it was loaded or saved.

        A write whose answer was lost or was cancelled earlier, or that less than a majority of a cluster's nodes have
        accepted, is settled by reading again. If others have stored another revision at the same time on other nodes,
        both are merged by the policies of the fields, and the document has the merged values then.

        Raises ConflictError, with ``base``, ``mine`` and ``theirs``, if another revision is stored by now, or if a
        field clashes in such a merge; DocumentError, before anything is stored, if the document does not fit its model;
        ConfigurationError if it comes from another database; TransportError if no answer came, and the write is not
        stored so far. What was not stored leaves the document as it was.
        """
        try:
            return await self.save_once(document)
        except ForkError:
            return await save_merged(self, document)
        except ConflictError as error:
            raise await self.complete_conflict(error, document) from None

    async def save_once(self, document: M) -> SaveResult:
        """Store a document as :meth:`save` does. A ConflictError is not completed, so that a caller can wait first."""
        self._check_model(document)
        await self._load_bases([document])
        await prepare(document)
        path = self._path_of(document)
        body = codec.body_to_send(document)
        if body is None:
            return SaveResult(is_sent=False)
        before = StoredState.of(document)
        try:
            sent = await send_write(self, document, body, lambda: self.session.json(Request("PUT", path, body=body)))
        except NotFoundError as error:
            raise self._with_hint(error) from None
        self._note_saved(document, sent.body, sent.rev)
        if sent.is_in_doubt:
            await settle_write(self, document, before, sent)
        await run_hooks(document, "after_save")
        if sent.body is not body:  # what was changed after an earlier attempt was sent is saved now
            await self.save_once(document)
        return SaveResult(is_accepted=sent.is_accepted)

    async def save_all(
        self, documents: Iterable[M], *, on_error: Literal["raise", "collect"] = "raise"
    ) -> SaveReport[M]:
        """Store documents by ``_bulk_docs``, which costs far less than one by one; unchanged ones are left out.

        Returns what was stored, and with ``on_error="collect"`` what was refused, each with its error, such as a
        ConflictError. Else BulkError is raised with these errors; the others are stored then. Raises DocumentError,
        before anything is stored, if a document does not fit its model.
        """
        everything = list({id(document): document for document in documents}.values())
        refused = await self.save_each(everything)
        if refused and on_error == "raise":
            raise_refused(self.database.id, len(everything), [error for _, error in refused])
        failed = {id(document) for document, _ in refused}
        return SaveReport([document for document in everything if id(document) not in failed], refused)

    async def save_each(self, documents: Sequence[M]) -> list[tuple[M, CouchModelError]]:
        """Store documents as :meth:`save_all` does, and return those that were refused, each with its error."""
        for document in documents:
            self._check_model(document)
        await self._load_bases(documents)
        for document in documents:
            await prepare(document)
            self._path_of(document)  # refuses bad ids before anything is sent
        sent = []
        for document in documents:
            if (body := codec.body_to_send(document)) is not None:
                sent.append((document, body))
            if turn_is_due():
                await give_turn()
        refused = await self._write_many(sent)
        if sent and has_hooks([type(document) for document, _ in sent], "after_save"):
            failed = {id(document) for document, _ in refused}
            for document, _ in sent:
                if id(document) not in failed:
                    await run_hooks(document, "after_save")
        return refused

    async def refresh(self, document: M) -> None:
        """Load the stored revision into a document, and drop its unsaved changes. Transfers nothing if it has it.

        Raises NotFoundError if the document is missing or deleted; DocumentError if it is of another type by now, or
        does not fit the model.
        """
        self._check_model(document)
        path = self._path(document.id)
        headers = {} if document.rev is None else {"if-none-match": f'"{document.rev}"'}
        try:
            response = await self.session.send(Request("GET", path, headers=headers))
        except NotFoundError as error:
            raise self._with_hint(error) from None
        if response.status == 304:
            rollback(document)
            return
        stored = self.load(response.body)
        if qualified_name(type(stored)) != qualified_name(type(document)):
            said = (
                f"{document.id!r} is a {type(stored).__name__} by now, no {type(document).__name__}: load it with get()"
            )
            raise DocumentError(said, model=type(document).__name__, document_id=document.id, errors=[])
        codec.adopt(document, stored)

    async def complete_conflict(self, error: ConflictError, document: M) -> ConflictError:
        """Complete a conflict error with the id, the three versions of the document and a hint, and return it."""
        error.document_id = document.id
        error.mine, error.base, error.theirs = document, codec.base_of(document), await self.get_or_none(document.id)
        error.hint = (_TAKEN if document.rev is None else _CHANGED).format(id=document.id)
        add_merge(error)
        return error

    def load(self, row: bytes) -> M:
        """Return the document of a JSON text. Raises DocumentError if it does not fit the model."""
        document = codec.load(self.model, row, self)
        for name in hooks_of(type(document), "after_load"):
            getattr(document, name)()
        return document

    async def _write_many(self, sent: list[tuple[M, bytes]]) -> list[tuple[M, CouchModelError]]:
        refused: list[tuple[M, CouchModelError]] = []
        unsettled = iter(sent)
        try:
            # The result of each request is recorded before the next one, which may fail.
            async for rows in write_in_batches(self.session, self.path, [body for _, body in sent]):
                for row in rows:
                    document, body = next(unsettled)
                    if error := self._note_row(row, document, body):
                        refused.append((document, error))
        except NotFoundError as error:
            raise self._with_hint(error) from None
        return refused

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

    def _note_saved(self, document: M, body: bytes, rev: str) -> None:
        codec.note_stored(document, body, rev)
        state.set_repository(document, self)

    def _note_row(self, row: BulkRow, document: M, body: bytes) -> CouchModelError | None:
        """Record CouchDB's row for a document of a bulk write. Return the error if the document was refused."""
        if "rev" in row:
            self._note_saved(document, body, row["rev"])
            return None
        error = row_error(row, f"/{self.database.id}/{document.id}")
        if isinstance(error, ConflictError):
            error.document_id, error.mine, error.base = document.id, document, codec.base_of(document)
            if document.rev is None:
                error.hint = _TAKEN.format(id=document.id)
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

    async def _load_bases(self, documents: Iterable[M]) -> None:
        """Load the stored revisions of documents that have a revision but were not loaded, such as one of a web form.

        Such a document lacks the members and attachments that its model does not know. Without this, storing it would
        lose them.
        """
        unknown: list[M] = []
        for document in documents:
            self._check_repository(document)
            if document.rev is not None and codec.base_of(document) is None:
                unknown.append(document)
        if not unknown:
            return
        wanted = encode({"docs": [{"id": document.id, "rev": document.rev} for document in unknown]})
        try:
            answer = await self.session.json(Request("POST", (*self.path, "_bulk_get"), body=wanted))
        except NotFoundError as error:
            raise self._with_hint(error) from None
        for document, result in zip(unknown, answer["results"], strict=True):
            found = result["docs"][0].get("ok")
            # If the revision is missing there is no base, and the write will be refused as a conflict.
            state.set_stored_body(document, encode(found) if found else None)

    def _with_hint(self, error: NotFoundError) -> NotFoundError:
        if error.reason == NO_DATABASE:
            error.hint = f"create it with `await couch.apply({self.model.__name__})`"
        return error
