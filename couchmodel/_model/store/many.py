"""The documents of a model, many of them together: loaded, saved and deleted with few requests."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from couchmodel._model.attachments.inline import InlineFiles
from couchmodel._model.codec import codec
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.store.bulk.chunks import (
    CHUNK,
    Source,
    keep_collections,
    read_chunks,
    refuse_repeated,
    require_iterable,
)
from couchmodel._model.store.bulk.results import (
    BulkResult,
    Delete,
    DeleteReport,
    OnError,
    OnProgress,
    Progress,
    Refused,
    SaveReport,
    check_on_error,
    in_order,
)
from couchmodel._model.store.hooked import has_hooks, overrides, prepare, restore_all, run_before
from couchmodel._model.store.writes import DocumentWrites, deletion_left
from couchmodel._wire.messages import EMPTY
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.errors import (
    ConfigurationError,
    CouchModelError,
    QueryError,
)

__all__ = ["ManyDocuments"]

M = TypeVar("M", bound=DocumentModel)


class ManyDocuments(DocumentWrites[M], ABC):
    """The documents of ``model`` in ``database``, which are also loaded, saved and deleted in bulk."""

    async def get_many(self, ids: Source[str], *, on_progress: OnProgress | None = None) -> list[M | None]:
        """Load documents by their ids, with one request for a thousand. None stands for a missing or deleted one.

        ``on_progress`` is called with the number of documents that are loaded. Raises NotFoundError if the database is
        missing; DocumentError if a document does not fit the model.
        """
        found, progress, done = list[M | None](), Progress(on_progress), 0
        async with aclosing(self.get_each(ids)) as documents:
            async for document in documents:
                found.append(document)
                if len(found) - done == CHUNK:
                    progress.add(CHUNK)
                    done += CHUNK
        progress.add(len(found) - done)
        return found

    async def get_each(self, ids: Source[str]) -> AsyncGenerator[M | None, None]:
        """Yield the documents that :meth:`get_many` returns, one by one, so that they need not all be in memory."""
        if isinstance(ids, str):
            raise QueryError(f"get_many() takes several ids, as in [{ids!r}], not a text")
        require_iterable("get_many", ids, "ids")
        async with aclosing(read_chunks(ids)) as chunks:
            async for wanted in chunks:
                for each in wanted:
                    self._path(each)
                async with aclosing(self._bodies(wanted)) as bodies:
                    async for body in bodies:
                        yield None if body is None else self.load(body)

    async def save_all(
        self, documents: Source[M], *, on_error: OnError = "raise", on_progress: OnProgress | None = None
    ) -> SaveReport[M]:
        """Store documents by ``_bulk_docs``, which costs far less than one by one; unchanged ones are left out.

        Returns what was stored, and with ``on_error="collect"`` what was refused, each with its error, such as a
        ConflictError. Else BulkError is raised with these errors; the others are stored then. A document that does not
        fit its model, or whose id cannot be used, is refused like others with ``on_error="collect"``. Else its error is
        raised before anything is stored.

        ``documents`` may be any iterable, also an asynchronous one. A collection, such as a list, is checked as a whole
        before anything is sent. The documents of an iterator are taken, checked and sent in chunks of at most a
        thousand, so what came before an error is stored by then. The report holds all of them; :meth:`Repository.bulk`
        does not. ``on_progress`` is called with the number of documents that are done.

        Small files that were assigned to attachments are sent with the others. A document with larger ones has a
        request of its own. Hooks run as for single saves. If one raises before the save, nothing of its chunk is sent,
        and its documents are as they were. If one raises after it, the chunk is stored, and all its hooks run; then the
        error is raised, or an ExceptionGroup of several ones, which has a BulkError, too, if documents were refused.
        Documents of a class that has its own ``save`` are saved by it, one by one.

        Raises ConfigurationError if an object comes twice, before its chunk is sent.
        """
        require_iterable("save_all", documents)
        check_on_error(on_error)
        report: SaveReport[M] = SaveReport()
        # Objects are told apart by ``id()``. The report keeps them all alive, so no two of them have the same one.
        seen, progress = set[int](), Progress(on_progress)
        async with aclosing(keep_collections(documents, _size_of)) as chunks:
            async for chunk in chunks:
                for document in chunk:
                    self._check_model(document)
                refuse_repeated("save_all", chunk, seen)
                refused = await self._save_chunk(chunk, on_error, progress)
                await self._complete_conflicts(refused)
                progress.raise_hook_errors(refused)
                failed = {id(document) for document, _ in refused}
                report.saved.extend([each for each in chunk if id(each) not in failed] if failed else chunk)
                report.refused.extend(refused)
        report.accepted.extend(progress.accepted)
        if on_error == "raise":
            report.raise_for_errors()
        return report

    async def delete_all(
        self,
        documents: Source[M],
        *,
        remarks: Mapping[str, Any] = EMPTY,
        on_error: OnError = "raise",
        on_progress: OnProgress | None = None,
    ) -> DeleteReport[M]:
        """Delete the revisions that documents were loaded or saved as, by ``_bulk_docs``.

        The tombstones of a :class:`SoftDelete` model have the ``remarks``, as those of :meth:`Repository.delete`.
        ``documents``, ``on_error``, ``on_progress`` and hooks are as for :meth:`save_all`, and so are the errors.
        Documents of a class that has its own ``delete`` are deleted by it, one by one.
        """
        require_iterable("delete_all", documents)
        check_on_error(on_error)
        self._check_remarks(self.model, remarks)
        report: DeleteReport[M] = DeleteReport()
        seen, progress = set[int](), Progress(on_progress)
        async with aclosing(keep_collections(documents)) as chunks:
            async for chunk in chunks:
                for document in chunk:
                    self._check_model(document)
                refuse_repeated("delete_all", chunk, seen)
                refused = await self._delete_chunk(chunk, on_error, progress, remarks)
                await self._complete_conflicts(refused)
                progress.raise_hook_errors(refused)
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
        progress = Progress(on_progress)
        async with aclosing(read_chunks(documents, _size_of)) as chunks:
            async for chunk in chunks:
                deleted = [each.document for each in chunk if isinstance(each, Delete)]
                saved = [each for each in chunk if not isinstance(each, Delete)]
                for document in (*saved, *deleted):
                    self._check_model(document)
                # Each chunk is looked at alone. The objects of earlier chunks may be gone, and new ones may have their
                # ``id()``.
                refuse_repeated("bulk", (*saved, *deleted), set())
                refused = await self._save_chunk(saved, "collect", progress)
                refused += await self._delete_chunk(deleted, "collect", progress)
                await self._complete_conflicts(refused)
                progress.raise_hook_errors(refused)
                errors = {id(document): error for document, error in refused}
                accepted = {id(document) for document in progress.accepted}
                progress.accepted.clear()
                for each in chunk:
                    document = each.document if isinstance(each, Delete) else each
                    yield BulkResult(document, errors.get(id(document)), id(document) in accepted)

    async def save_each(self, documents: Sequence[M]) -> Refused[M]:
        """Store documents as :meth:`save_all` does, and return those that were refused, each with its error."""
        progress = Progress()
        refused = await self._save_chunk(documents, "raise", progress)
        progress.raise_hook_errors(refused)
        return refused

    async def _save_chunk(self, documents: Sequence[M], on_error: OnError, progress: Progress) -> Refused[M]:
        """Store documents, and return those that were refused, in their order.

        The errors of hooks after the write are left to the caller.
        """
        kinds = {type(document) for document in documents}
        single = {kind for kind in kinds if overrides(kind, "save")}
        together = [each for each in documents if type(each) not in single] if single else documents
        refused: Refused[M] = []
        files = InlineFiles()
        # Every text is made before the first one is sent, so an error that is raised leaves all documents unsent.
        sent = await self._bodies_of(together, kinds, refused if on_error == "collect" else None, files)
        progress.add(len(together) - len(sent) - len(files.large))
        try:
            refused += await self._write_many(sent, progress)
        finally:
            # If a request fails, the files of the documents in the requests before it are stored.
            files.note_stored()
        progress.hook_errors += await self._run_after("after_save", [document for document, _ in sent], refused)
        refused += await self._write_one_by_one(files.large, progress)
        progress.hook_errors += await self._run_after("after_save", files.large, refused)
        refused += await self._write_by_class("save", [each for each in documents if type(each) in single], progress)
        return in_order(refused, documents)

    async def _bodies_of(
        self, documents: Sequence[M], kinds: set[type[M]], refused: Refused[M] | None, files: InlineFiles
    ) -> list[tuple[M, bytes]]:
        """Run the hooks of documents, and return those that have changes, each with the text to send.

        A document that cannot be stored is added to ``refused``; without that, its error is raised. If anything is
        raised, all documents are as they were.
        """
        hooked = {kind for kind in kinds if has_hooks([kind], "before_insert", "before_save")}
        await self._load_bases(documents, refused)
        failed = {id(document) for document, _ in refused or ()}
        sent: list[tuple[M, bytes]] = []
        before: list[tuple[M, M]] = []
        try:
            for document in documents:
                # It cannot be saved here, so its hooks must not run.
                if failed and id(document) in failed:
                    continue
                copy = None
                try:
                    if type(document) in hooked:
                        copy = await prepare(document)
                        before.append((document, copy))
                    self._path_of(document)  # refuses bad ids before anything is sent
                    body = await files.body_of(document)
                except CouchModelError as error:
                    if refused is None:
                        raise
                    restore_all([(document, copy)])
                    refused.append((document, error))
                    continue
                if body is not None:
                    sent.append((document, body))
                # Without hooks and files, no await of this loop suspends.
                if turn_is_due():
                    await give_turn()
        except BaseException:
            restore_all(before)
            raise
        return sent

    async def _delete_chunk(
        self, documents: Sequence[M], on_error: OnError, progress: Progress, remarks: Mapping[str, Any] = EMPTY
    ) -> Refused[M]:
        """Delete documents as :meth:`_save_chunk` stores them."""
        single = {kind for kind in {type(document) for document in documents} if overrides(kind, "delete")}
        together = [each for each in documents if type(each) not in single]
        refused: Refused[M] = []
        doomed: list[tuple[M, bytes]] = []
        ready = await self._run_before_delete(together, refused if on_error == "collect" else None)
        # A tombstone that keeps the document keeps the members that the model does not know, which are in the stored
        # text.
        await self._load_bases(each for each in ready if each.__keeps_deleted__)
        for document in ready:
            try:
                rev, body = self._revision_to_delete(document), codec.tombstone(document, remarks)
                # Documents that link to this one are deleted before it, so that no link ever leads to nothing.
                await self._delete_linked(type(document), document.id, rev)
            except CouchModelError as error:
                refused.append((document, error))
            else:
                doomed.append((document, body))
        progress.add(len(refused))
        refused += await self._write_many(doomed, progress, self._note_deleted_row, partial(deletion_left, remarks))
        progress.hook_errors += await self._run_after("after_delete", [document for document, _ in doomed], refused)
        by_class = [each for each in documents if type(each) in single]
        refused += await self._write_by_class("delete", by_class, progress, remarks)
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

    def _check_remarks(self, model: type[DocumentModel], remarks: Mapping[str, Any]) -> None:
        if remarks and not model.__keeps_deleted__:
            raise ConfigurationError(f"{model.__name__} keeps no remarks: let it inherit SoftDelete first")

    @abstractmethod
    async def _delete_linked(self, model: type[M], id: str, rev: str) -> None:
        """Delete what links to a document and is to be deleted with it, by the rules of links.

        Raises DocumentError if a link refuses the deletion.
        """


def _size_of(document: object) -> int:
    """Return the bytes of a document as it is stored; 0 for what cannot be stored, or is to be deleted."""
    try:
        return len(codec.dump(document)) if isinstance(document, DocumentModel) else 0
    except CouchModelError:
        return 0
