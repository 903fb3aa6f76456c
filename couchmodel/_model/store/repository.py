"""The repository of a model: documents of one type in one database."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, TypeVar, cast

from couchmodel._model.codec import codec
from couchmodel._model.codec.forms import form_of
from couchmodel._model.query.indexes import advise_index
from couchmodel._model.query.query import Query
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions.conditions import Condition
from couchmodel._model.schema.expressions.places import Assignment, Ordering
from couchmodel._model.store.binding import database_of
from couchmodel._model.store.bulk.results import (
    Progress,
    delete_rows,
    document_bodies,
)
from couchmodel._model.store.changing import ChangingDocuments
from couchmodel._model.store.deletions.rules import delete_linked
from couchmodel._model.store.edits import Turn, refused_merge, save_edited
from couchmodel._model.store.hooked import has_hooks, overrides, run_before, run_hooks
from couchmodel._model.store.linked import fetch_linked
from couchmodel._model.store.migration import MigrationReport, migrate
from couchmodel._model.store.plans.plan import apply_steps, plan_model
from couchmodel._model.store.revisions.conflicts import conflict_versions, conflicted_bodies, resolve_conflict
from couchmodel._model.store.revisions.doubt import send_deletion
from couchmodel._model.store.revisions.old import read_old_versions
from couchmodel._model.store.settled_rows import settle_deleted_stubs
from couchmodel._model.store.strictness import is_strict, strict_body
from couchmodel._model.store.writes import deletion_left
from couchmodel._model.views.bound import BoundView
from couchmodel._wire.messages import EMPTY, Request, document_path, encode
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.engine._io.lost_answers import NO_ANSWER_ERRORS, may_be_carried_out
from couchmodel.engine._io.parameters import encode_params
from couchmodel.engine._io.rows import Rows
from couchmodel.engine.database import find_rows
from couchmodel.errors import (
    BadRequestError,
    ConflictError,
    CouchModelError,
    DocumentError,
    NoIndexError,
    NotFoundError,
)
from couchmodel.types import JSONObject

__all__ = ["Repository"]

M = TypeVar("M", bound=DocumentModel)
D = TypeVar("D", bound=DocumentModel)
A = TypeVar("A")
V = TypeVar("V")
T = TypeVar("T")

_turn: Final = Turn()
_INDEX_RULE: Final = "an index can be used only if each of its fields is in the sort order or in a condition"


class Repository(ChangingDocuments[M]):
    """The documents of ``model`` in ``database``. Use it if a model has several databases, for example of tenants.

    The methods of the model, such as ``Recipe.get(…)``, do the same in the database that the model is bound to.
    """

    async def delete(self, document: M, /, **remarks: Any) -> None:
        """Delete the revision that a document was loaded or saved as.

        The tombstone of a document of a :class:`SoftDelete` model keeps what is stored of it, and the ``remarks``,
        which are JSON values. Raises ConflictError, with ``base``, ``mine`` and ``theirs``, if another revision is
        stored by now; NotFoundError if it is deleted already; ConfigurationError if the document is not stored, or
        comes from another database, or if its model keeps no remarks.
        """
        rev = self._revision_to_delete(document)
        self._check_remarks(type(document), remarks)
        if document.__keeps_deleted__:
            await self._load_bases([document])
        await run_before(document, "before_delete")
        path, tombstone = self._path(document.id), codec.tombstone(document, remarks)
        await delete_linked(self, type(document), document.id, rev)
        # DELETE makes a tombstone without members. A feed finds deletions of a model by their type, so a tombstone with
        # a type is sent by PUT.
        is_bare = document.__declared__.type is None and not document.__keeps_deleted__
        request = Request("DELETE", path, {"rev": rev}) if is_bare else Request("PUT", path, body=tombstone)
        try:
            await send_deletion(self, document, request)
        except NO_ANSWER_ERRORS as error:
            if may_be_carried_out(error):
                state.note_unanswered(document, tombstone)
            raise
        # If the document is deleted already, CouchDB answers 404 to DELETE, and 409 to PUT.
        except (ConflictError, NotFoundError) as error:
            await self._settle_deletion(document, remarks, error)
        codec.note_deleted(document)
        await run_hooks(document, "after_delete")

    async def _settle_deletion(
        self, document: M, remarks: Mapping[str, Any], error: ConflictError | NotFoundError
    ) -> None:
        """Return if an earlier attempt, or another one now, has deleted a document. Else raise the error."""
        if isinstance(error, NotFoundError) and error.reason == NO_DATABASE:
            raise self._with_hint(error) from None
        if not await self._settle_own([(document, error)], self._note_deleted_row, partial(deletion_left, remarks)):
            return
        if isinstance(error, ConflictError):
            await self.complete_conflict(error, document)
            if error.theirs is None:
                raise NotFoundError("deleted", method=error.method, path=error.path) from None
        raise error from None

    async def delete_each(
        self, stubs: Sequence[JSONObject], remarks: Mapping[str, Any] = EMPTY
    ) -> list[tuple[str, CouchModelError]]:
        """Delete documents, given their ids, revisions and types, and return the ids of those that were refused."""
        self._check_remarks(self.model, remarks)
        kinds: list[type[DocumentModel]] = [self.model, *form_of(self.model).kinds.values()]
        needs_documents = any(kind.__keeps_deleted__ or overrides(kind, "delete") for kind in kinds)
        if not needs_documents and not has_hooks(kinds, "before_delete", "after_delete"):
            return await self._delete_stubs(stubs)
        found = await self.get_many([stub["_id"] for stub in stubs])
        # A document that has changed since the query may not meet its conditions any more.
        current = [
            each for each, stub in zip(found, stubs, strict=True) if each is not None and each.rev == stub["_rev"]
        ]
        progress = Progress()
        refused = await self._delete_chunk(current, "raise", progress, remarks)
        progress.raise_hook_errors(refused)
        left = {stub["_id"] for stub in stubs} - {each.id for each in current}
        stale = [(id, ConflictError(f"{id!r} was changed or deleted meanwhile")) for id in left]
        return [(document.id, error) for document, error in refused] + stale

    async def _delete_stubs(self, stubs: Sequence[JSONObject]) -> list[tuple[str, CouchModelError]]:
        refused: list[tuple[str, CouchModelError]] = []
        for stub in stubs:
            try:
                await delete_linked(self, self.model, stub["_id"], stub["_rev"])
            except DocumentError as error:
                refused.append((stub["_id"], error))
        kept = {id for id, _ in refused}
        doomed = [(stub["_id"], encode({**stub, "_deleted": True})) for stub in stubs if stub["_id"] not in kept]
        failed, accepted = await delete_rows(self.database, [id for id, _ in doomed], [body for _, body in doomed])
        return refused + failed + await settle_deleted_stubs(self, stubs, accepted)

    async def _delete_linked(self, model: type[M], id: str, rev: str) -> None:
        await delete_linked(self, model, id, rev)

    @asynccontextmanager
    async def edit(self, id: str) -> AsyncGenerator[M]:
        """Return a context that loads a document and saves it at its end; an exception leaves it as it was.

        What others have changed meanwhile is merged field by field: see ``merge`` of :func:`couchmodel.Field`. Edits of
        one document in this process come one after the other.

        Raises NotFoundError if the document is missing; at the end ConflictError, with ``fields``, if a field was
        changed by both sides and has no policy, or if the document was deleted; DocumentError if the merged document
        does not fit its model.
        """
        self._path(id)  # refuses what is no id
        # The turn is taken before the read. Else the edits of one process would read the same revision, and all but one
        # would merge.
        async with _turn.of(self.session, self.path, id):
            document = await self.get(id)
            rev = document.rev
            yield document
            if document.rev is None:  # it was deleted in the block
                return
            try:
                result = await save_edited(self, document)
            except DocumentError as error:
                raise (error if document.rev == rev else refused_merge(error)) from None
            await self.finish(document, result)

    def find(
        self, *conditions: Condition | Mapping[str, Any], on_invalid: Literal["raise", "skip", "collect"] = "raise"
    ) -> Query[M]:
        """Return a query for the documents that meet all the conditions. Sends nothing yet.

        ``on_invalid`` is for documents that do not fit the model: they raise DocumentError, are left out, or are left
        out with their errors in ``query.errors``. Raises QueryError if an argument is not a condition.
        """
        everything: Query[M] = Query(self, on_invalid=on_invalid)
        return everything.find(*conditions)

    async def rows(
        self, body: JSONObject, limit: int | None, on_end: Callable[[JSONObject], None] | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the documents that a body of ``_find`` asks for, all or at most ``limit``, as JSON texts in batches.

        ``on_end`` is called at the end with the other members of the answer.
        """
        try:
            if is_strict(self.session):
                body = await strict_body(self.database, body, self.kind)
            async with aclosing(find_rows(self.session, self.path, body, limit, on_end)) as batches:
                async for batch in batches:
                    yield batch
        except NotFoundError as error:
            raise self._with_hint(error) from None
        except BadRequestError as error:
            raise self._index_error(error, body) from None

    async def explain(self, body: JSONObject) -> JSONObject:
        """Return CouchDB's answer of ``_explain`` to a body of ``_find``."""
        try:
            answer = await self.session.json(Request("POST", (*self.path, "_explain"), body=encode(body)))
        except NotFoundError as error:
            raise self._with_hint(error) from None
        except BadRequestError as error:
            raise self._index_error(error, body) from None
        return cast("JSONObject", answer)

    def _index_error(self, error: BadRequestError, body: JSONObject) -> CouchModelError:
        """Return the error of a query that no index serves, with the advice."""
        order = [Ordering(*next(iter(each.items()))) for each in body.get("sort", ())]
        if error.code == "invalid_index" and is_strict(self.session):
            advice = advise_index(self.model, body["selector"], order)
            return NoIndexError(f"a query of {self.model.__name__} would read all documents: {advice}")
        # CouchDB answers so if a query is sorted and no index has its order.
        if error.code == "no_usable_index":
            fields = ", ".join(repr(each.path) for each in order)
            error.hint = f"declare Index({fields}) on {self.model.__name__} and call apply(); {_INDEX_RULE}"
        return error

    async def conflicted(self) -> AsyncGenerator[M, None]:
        """Yield the documents that have several current versions since a replication, each as CouchDB shows it.

        The first call creates an index for them, if the user may do that.
        """
        async with aclosing(conflicted_bodies(self)) as bodies:
            async for body in bodies:
                yield self.load(body)

    async def conflicts(self, document: M) -> list[M]:
        """Return the other current versions of a document, which replication has brought.

        Raises NotFoundError if the document is missing or deleted.
        """
        self._path_of(document)
        return await conflict_versions(self, document.id)

    async def revisions(
        self, document: M, *, on_invalid: Literal["raise", "skip"] = "raise"
    ) -> AsyncGenerator[M, None]:
        """Yield the document in each revision that is stored, newest first, from the current one on.

        CouchDB keeps old revisions until it compacts the database. Deletions are left out. Raises NotFoundError if the
        document is missing or deleted; DocumentError, which names the revision, if one does not fit the model;
        ``on_invalid="skip"`` logs it, leaves it out and goes on.
        """
        self._path_of(document)
        async with aclosing(read_old_versions(self, document.id, on_invalid)) as versions:
            async for each in versions:
                yield each

    async def resolve(self, document: M, *values: Assignment) -> None:
        """Merge all current versions of a document into one, as an edit does, and store it in place of all of them.

        ``values`` are assignments, such as ``Recipe.title.set("Pie")``, for fields that clash. The base of the merge is
        the common ancestor. If the store has it no more, fields that differ clash. Two programs that resolve one
        conflict at the same time, also on two servers, write the same revision.

        Raises ConflictError, with ``fields``, if other fields clash: nothing is stored then. Raises
        ConfigurationError if the document has unsaved changes; DocumentError if the merged document does not fit.
        """
        self._path_of(document)
        await resolve_conflict(self, document, values)

    async def apply(self) -> None:
        """Create the database if it is missing, and bring its settings and indexes to what the model declares.

        Raises UnauthorizedError if the user may not do that.
        """
        await apply_steps(lambda: plan_model(self.model, self.database))

    async def linked_documents(self, wanted: Collection[tuple[type, str]]) -> Mapping[tuple[type, str], Any]:
        """Return the documents of some models and ids, fetched with one request for each database.

        Those that are missing or deleted are left out. Raises DocumentError if one does not fit its model.
        """
        return await fetch_linked(wanted, self.repository_of)

    def view(self, view: BoundView[M, A, V, T]) -> BoundView[M, A, V, T]:
        """Return a view of the model, such as ``Book.by_author``, in this database. Sends nothing."""
        return view.within(self)

    async def view_rows(self, design: str, name: str, params: Mapping[str, Any]) -> AsyncGenerator[list[bytes], None]:
        """Yield the rows of a view as JSON texts, in batches as they arrive. Raises NotFoundError if it is missing."""
        path = (*document_path(self.path, f"_design/{design}"), "_view", name)
        try:
            async with aclosing(Rows(self.session, Request("GET", path, encode_params(params))).batches()) as batches:
                async for batch in batches:
                    yield batch
        except NotFoundError as error:
            error.hint = f"store it with `await couch.apply({self.model.__name__})`"
            raise

    def repository_of(self, model: type[D]) -> "Repository[D]":
        """Return the repository of another model: in this database if the models share one, else in its own."""
        # The repository of a tenant is of another database than its model names. Linked models are looked for beside
        # it.
        if model.__declared__.database in (None, self.model.__declared__.database):
            return Repository(model, self.database)
        return Repository(model, database_of(model, model.__declared__.database))

    async def migrate(self) -> MigrationReport:
        """Store anew the documents that are of an older version of the schema, or lack a field of the model.

        So are those that have an older form or name of a field. An index on a field leaves out the documents that were
        stored before the field was added, until then. A member is stored under an older name if a field is read from
        it, and is written under another name (``stored_as``). It is removed; a save keeps it, since other programs may
        still read it. Documents that do not fit the model, or that the database refuses, are left alone, and named in
        the report. Those of a newer version are left alone.

        No hooks run. Documents are read and stored in batches. If a migration is stopped, call this again: documents
        that are stored anew already are only read.
        """
        rows = self.rows({"selector": self.kind}, None)
        return await migrate(rows, self, self._write_many, partial(document_bodies, self.database))
