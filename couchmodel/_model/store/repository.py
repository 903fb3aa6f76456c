"""The repository of a model: documents of one type in one database."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, TypeVar, cast

from couchmodel._model.codec import codec
from couchmodel._model.codec.forms import form_of
from couchmodel._model.query.query import Query
from couchmodel._model.query.scans import advise_index
from couchmodel._model.query.selector import build_selector
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions.conditions import Condition, require_condition
from couchmodel._model.schema.expressions.places import Assignment, Ordering
from couchmodel._model.schema.kinds import kind_selector
from couchmodel._model.store.binding import database_of
from couchmodel._model.store.bulk import (
    BulkResult,
    Delete,
    DeleteReport,
    OnError,
    OnProgress,
    Progress,
    Refused,
    delete_rows,
    document_bodies,
    in_order,
)
from couchmodel._model.store.chunks import Chunks, Source, refuse_repeated, require_iterable
from couchmodel._model.store.delete_rules import delete_linked
from couchmodel._model.store.deletions.tombstones import Tombstone, read_tombstones, restore_document
from couchmodel._model.store.edits import Turn, save_merged
from couchmodel._model.store.feeds.changes import Change, ChangeFeed, open_feed
from couchmodel._model.store.feeds.consumers import consume_changes
from couchmodel._model.store.feeds.positions import Position
from couchmodel._model.store.hooked import has_hooks, overrides, restore_all, run_before, run_hooks
from couchmodel._model.store.linked import fetch_linked
from couchmodel._model.store.many import ManyDocuments
from couchmodel._model.store.migration import MigrationReport, migrate
from couchmodel._model.store.plan import apply_steps, plan_model
from couchmodel._model.store.revisions.conflicts import conflict_versions, conflicted_bodies, resolve_conflict
from couchmodel._model.store.strictness import is_strict, strict_body
from couchmodel._model.views.bound import BoundView
from couchmodel._wire.messages import Request, document_path, encode
from couchmodel.engine._io.parameters import encode_params
from couchmodel.engine._io.rows import Rows
from couchmodel.engine.database import find_rows
from couchmodel.errors import (
    BadRequestError,
    ConfigurationError,
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


class Repository(ManyDocuments[M]):
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
        if remarks and not document.__keeps_deleted__:
            raise ConfigurationError(f"{type(document).__name__} keeps no remarks: let it inherit SoftDelete first")
        if document.__keeps_deleted__:
            await self._load_bases([document])
        await run_before(document, "before_delete")
        path, tombstone = self._path(document.id), codec.tombstone(document, remarks)
        await delete_linked(self, type(document), document.id, rev)
        try:
            if tombstone is None:
                await self.session.send(Request("DELETE", path, {"rev": rev}))
            else:
                await self.session.send(Request("PUT", path, body=tombstone))
        except ConflictError as error:
            raise await self.complete_conflict(error, document) from None
        except NotFoundError as error:
            raise self._with_hint(error) from None
        codec.note_deleted(document)
        await run_hooks(document, "after_delete")

    async def delete_all(
        self, documents: Source[M], *, on_error: OnError = "raise", on_progress: OnProgress | None = None
    ) -> DeleteReport[M]:
        """Delete the revisions that documents were loaded or saved as, by ``_bulk_docs``.

        ``documents``, ``on_error``, ``on_progress`` and hooks are as for :meth:`save_all`, and so are the errors.
        Documents of a class that has its own ``delete`` are deleted by it, one by one.
        """
        require_iterable("delete_all", documents)
        report: DeleteReport[M] = DeleteReport()
        seen, progress = set[int](), Progress(on_progress)
        async with aclosing(Chunks(documents, keep_collections=True).read()) as chunks:
            async for chunk in chunks:
                for document in chunk:
                    self._check_model(document)
                refuse_repeated("delete_all", chunk, seen)
                refused = await self._delete_chunk(chunk, on_error, progress)
                failed = {id(document) for document, _ in refused}
                report.deleted.extend(each for each in chunk if id(each) not in failed)
                report.refused.extend(refused)
        if on_error == "raise":
            report.raise_for_errors()
        return report

    async def bulk(
        self, documents: Source[M | Delete[M]], *, on_progress: OnProgress | None = None
    ) -> AsyncGenerator[BulkResult[M], None]:
        """Store documents, and delete those in ``Delete(document)``. Yield the result for each, in their order.

        ``documents`` may be any iterable, also an asynchronous one. They are taken and written in chunks of at most a
        thousand, and two chunks at most are in memory. A chunk is written when its first result is asked for, so the
        chunks behind the one in which the caller stops are not. All else is as for :meth:`save_all` and
        :meth:`delete_all` with ``on_error="collect"``.

        Raises ConfigurationError if an object comes twice in a chunk, before the chunk is sent.
        """
        require_iterable("bulk", documents)
        source, progress = Chunks(documents), Progress(on_progress)
        async with aclosing(source.read()) as chunks:
            async for chunk in chunks:
                deleted = [each.document for each in chunk if isinstance(each, Delete)]
                saved = [each for each in chunk if not isinstance(each, Delete)]
                for document in (*saved, *deleted):
                    self._check_model(document)
                refuse_repeated("bulk", (*saved, *deleted), set())
                refused, size = await self._save_chunk(saved, "collect", progress)
                source.note_size(len(chunk), size)
                refused += await self._delete_chunk(deleted, "collect", progress)
                errors = {id(document): error for document, error in refused}
                for each in chunk:
                    document = each.document if isinstance(each, Delete) else each
                    yield BulkResult(document, errors.get(id(document)))

    async def delete_each(self, stubs: Sequence[JSONObject]) -> list[tuple[str, CouchModelError]]:
        """Delete documents, given their ids, revisions and types, and return the ids of those that were refused."""
        kinds: list[type[DocumentModel]] = [self.model, *form_of(self.model).kinds.values()]
        needs_documents = any(kind.__keeps_deleted__ or overrides(kind, "delete") for kind in kinds)
        if not needs_documents and not has_hooks(kinds, "before_delete", "after_delete"):
            return await self._delete_stubs(stubs)
        found = await self.get_many([stub["_id"] for stub in stubs])
        current = [
            each for each, stub in zip(found, stubs, strict=True) if each is not None and each.rev == stub["_rev"]
        ]
        refused = await self._delete_chunk(current, "raise", Progress())
        left = {stub["_id"] for stub in stubs} - {each.id for each in current}
        stale = [(id, ConflictError(f"{id!r} was changed or deleted meanwhile")) for id in left]
        return [(document.id, error) for document, error in refused] + stale

    async def _delete_chunk(self, documents: Sequence[M], on_error: OnError, progress: Progress) -> Refused[M]:
        """Delete documents, and return those that were refused, in their order."""
        single = {kind for kind in {type(document) for document in documents} if overrides(kind, "delete")}
        together = [each for each in documents if type(each) not in single]
        refused: Refused[M] = []
        doomed: list[tuple[M, bytes]] = []
        ready = await self._run_before_delete(together, refused if on_error == "collect" else None)
        await self._load_bases(each for each in ready if each.__keeps_deleted__)
        for document in ready:
            try:
                rev = self._revision_to_delete(document)
                await delete_linked(self, type(document), document.id, rev)
            except CouchModelError as error:
                refused.append((document, error))
            else:
                body = codec.tombstone(document) or encode({"_id": document.id, "_rev": rev, "_deleted": True})
                doomed.append((document, body))
        progress.add(len(refused))
        refused += await self._write_many(doomed, progress, self._note_deleted_row)
        await self._run_after("after_delete", doomed, refused)
        refused += await self._write_by_class("delete", [each for each in documents if type(each) in single], progress)
        return in_order(refused, documents)

    async def _run_before_delete(self, documents: Sequence[M], refused: Refused[M] | None) -> list[M]:
        """Run the hooks of documents, and return those that can be deleted.

        One that cannot is added to ``refused``; without that, its error is raised. If anything is raised, all documents
        are as they were.
        """
        doomed: list[M] = []
        before: list[tuple[M, M]] = []
        try:
            for document in documents:
                try:
                    self._revision_to_delete(document)
                    before.append((document, await run_before(document, "before_delete")))
                except CouchModelError as error:
                    if refused is None:
                        raise
                    refused.append((document, error))
                else:
                    doomed.append(document)
        except BaseException:
            restore_all(before)
            raise
        return doomed

    async def _delete_stubs(self, stubs: Sequence[JSONObject]) -> list[tuple[str, CouchModelError]]:
        refused: list[tuple[str, CouchModelError]] = []
        for stub in stubs:
            try:
                await delete_linked(self, self.model, stub["_id"], stub["_rev"])
            except DocumentError as error:
                refused.append((stub["_id"], error))
        kept = {id for id, _ in refused}
        doomed = [(stub["_id"], encode({**stub, "_deleted": True})) for stub in stubs if stub["_id"] not in kept]
        return refused + await delete_rows(self.database, [id for id, _ in doomed], [body for _, body in doomed])

    @asynccontextmanager
    async def edit(self, id: str) -> AsyncGenerator[M]:
        """A context that loads a document and saves it at its end; an exception in the block leaves it as it was.

        What others have changed meanwhile is merged field by field: see ``merge`` of :func:`couchmodel.Field`. Edits of
        one document in this process come one after the other.

        Raises NotFoundError if the document is missing; at the end ConflictError, with ``fields``, if a field was
        changed by both sides and has no policy, or if the document was deleted; DocumentError if the merged document
        does not fit its model.
        """
        async with _turn.of(self.session, self.path, id):
            document = await self.get(id)
            yield document
            if document.rev is not None:  # it was not deleted in the block
                await save_merged(self, document)

    def find(
        self, *conditions: Condition | Mapping[str, Any], on_invalid: Literal["raise", "skip", "collect"] = "raise"
    ) -> Query[M]:
        """Return a query for the documents that meet all the conditions. Sends nothing yet.

        ``on_invalid`` is for documents that do not fit the model: they raise DocumentError, are left out, or are left
        out with their errors in ``query.errors``. Raises QueryError if an argument is not a condition.
        """
        everything: Query[M] = Query(self, on_invalid=on_invalid)
        return everything.find(*conditions)

    @property
    def kind(self) -> JSONObject:
        """The selector of the documents that are the model's in a database of several models."""
        return kind_selector(self.model, form_of(self.model).kinds)

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

    def changes(
        self,
        *conditions: Condition | Mapping[str, Any],
        since: str = "0",
        live: bool = True,
        on_invalid: Literal["raise", "skip"] = "raise",
    ) -> ChangeFeed[M]:
        """Return the changes of the model's documents after a sequence, the latest of each document. Sends nothing yet.

        ``since`` is the ``seq`` of a change; ``"0"`` is the beginning, ``"now"`` the end. With ``live`` the feed goes
        on until the caller leaves it, also over lost connections; else it ends with the changes so far. Every change is
        given at least once, and in order.

        Conditions are tested by CouchDB on the stored document. A tombstone meets them only if it has kept the
        document, as those of :class:`SoftDelete` do. Deletions by other programs have no type, so a model with a type
        does not see them.

        A document that does not fit the model is a DocumentError, after which the feed can be asked for the next
        change; with ``on_invalid="skip"`` it is logged and left out. Raises QueryError if an argument is not a
        condition.
        """
        selector = build_selector(tuple(map(require_condition, conditions)), self.kind, model=self.model)
        return open_feed(self, selector, since=since, live=live, on_invalid=on_invalid, explain=self._with_hint)

    async def consume(
        self,
        name: str,
        function: Callable[[Change[M]], Awaitable[object]],
        *,
        live: bool = True,
        since: str = "0",
        on_invalid: Literal["raise", "skip"] = "raise",
    ) -> None:
        """Call an asynchronous function with each change of the model's documents, in order, and remember the position.

        A consumer of this ``name`` goes on where the last one has stopped; the first one begins at ``since``. The
        position is kept in a local document of the database. It is stored behind what is done: after a hundred changes
        or a second, at the end, and when the consumer is stopped. A program that is killed gets the last changes again,
        so the function must take a change that it has seen before.

        With ``live`` this waits for changes until it is cancelled, else it ends with the changes so far. If the
        function raises, the consumer stops with that error, and begins with that change the next time; catch the error
        in the function to go past it. ``on_invalid="skip"`` goes past documents that do not fit the model.

        Raises ConflictError if another consumer of the same name moves the position; and the errors of
        :meth:`changes`.
        """
        position = Position(self.database, name)
        try:
            start = await position.read()
        except NotFoundError as error:
            raise self._with_hint(error) from None
        feed = self.changes(since=start or since, live=live, on_invalid=on_invalid)
        await consume_changes(feed, position, name, function)

    async def deleted(self, *, on_invalid: Literal["raise", "skip"] = "raise") -> AsyncGenerator[Tombstone[M], None]:
        """Yield the tombstones of documents that a model of :class:`SoftDelete` has deleted, in the order of deletion.

        CouchDB has no index of deleted documents: it reads the whole feed of changes for this, however few it gives.
        Raises DocumentError for a tombstone that does not fit the model; ``on_invalid="skip"`` leaves it out.
        """
        try:
            async with aclosing(read_tombstones(self, on_invalid)) as tombstones:
                async for each in tombstones:
                    yield each
        except NotFoundError as error:
            raise self._with_hint(error) from None

    async def restore(self, id: str) -> M:
        """Store a document again that a model of :class:`SoftDelete` has deleted, and return it. No hooks run.

        Its attachments are fetched from the tombstone and sent again. Links and the documents that were deleted with it
        are not looked at. Raises NotFoundError if there is no tombstone that has kept the document; ConflictError if
        the document is not deleted; DocumentError if it does not fit the model.
        """
        self._path(id)
        try:
            await restore_document(self, id)
        except NotFoundError as error:
            raise self._with_hint(error) from None
        return await self.get(id)

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
