"""The documents of a model in the course of time: their changes, their tombstones, and their removal."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Literal, TypeVar

from couchmodel._model.codec.forms import form_of
from couchmodel._model.query.selector import build_selector
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions.conditions import Condition, require_condition
from couchmodel._model.schema.kinds import kind_selector
from couchmodel._model.store.bulk.chunks import Source, read_chunks, require_iterable
from couchmodel._model.store.deletions.purges import IDS, ForgetReport, note_replicas, purge_documents
from couchmodel._model.store.deletions.tombstones import Tombstone, read_tombstones, restore_document
from couchmodel._model.store.feeds.changes import Change, ChangeFeed, open_feed
from couchmodel._model.store.feeds.consumers import consume_changes
from couchmodel._model.store.feeds.positions import Position
from couchmodel._model.store.many import ManyDocuments
from couchmodel.errors import NotFoundError
from couchmodel.types import JSONObject

__all__ = ["ChangingDocuments"]

M = TypeVar("M", bound=DocumentModel)


class ChangingDocuments(ManyDocuments[M]):
    """The documents of ``model`` in ``database``, and what has become of them."""

    @property
    def kind(self) -> JSONObject:
        """The selector of the documents that are the model's in a database of several models."""
        return kind_selector(self.model, form_of(self.model).kinds)

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
        given at least once, and in order within each shard of the database.

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
        position = Position(self.database, self.model.__declared__.type, name)
        try:
            start = await position.read()
            if start is None and since == "now":
                start = await position.begin_now()
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

    async def forget(self, ids: Source[str]) -> ForgetReport:
        """Remove documents with all their revisions, deleted ones too, by ``_purge``. No hooks and no delete rules run.

        A deletion keeps a tombstone; this keeps nothing, and cannot be undone. It concerns this database only: a
        replica still has the documents, and a replication from it may bring them back. The report names the replicas
        that are known from checkpoints of replications and from ``_replicator``, as far as the user may read them;
        there may be others. So does a program that still holds a document and saves it: CouchDB takes it, as it keeps
        nothing by which it could refuse it. The space on disk is free after a compaction.

        Raises UnauthorizedError if the user may not do that; ConflictError if others write a document again and again
        meanwhile; the ids before it are forgotten then.
        """
        require_iterable("forget", ids, "ids, as in ['pie', 'soup']")
        report = ForgetReport()
        try:
            async with aclosing(read_chunks(ids)) as chunks:
                async for chunk in chunks:
                    # Ids of CouchDB's own, such as those of design documents, are refused before any document of the
                    # chunk is purged.
                    for id in chunk:
                        self._path(id)
                    # An id that comes twice would be missing the second time, because it is purged by then.
                    wanted = list(dict.fromkeys(chunk))
                    for start in range(0, len(wanted), IDS):
                        await purge_documents(self, wanted[start : start + IDS], report)
            await note_replicas(self, report)
        except NotFoundError as error:
            raise self._with_hint(error) from None
        return report
