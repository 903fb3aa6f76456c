"""The transfer of revisions: those that the target lacks are read from the source in bounded batches, and written."""

import base64
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from couchmodel._replication.options import ReplicationCounts
from couchmodel._replication.peer import Peer
from couchmodel._retry import Backoff, retry
from couchmodel._wire.messages import JSON_TYPE, encode
from couchmodel._wire.multipart import AttachmentPart, MultipartRelated, is_media_type
from couchmodel.errors import (
    BadRequestError,
    CouchModelError,
    MethodNotAllowedError,
    NotFoundError,
    PreconditionFailedError,
    ProtocolError,
    ResponseError,
    ServerError,
    UnauthorizedError,
    UnsupportedError,
    UnsupportedMediaTypeError,
)

__all__ = ["Transfer"]

_log: Final = logging.getLogger("couchmodel.replication")

_FIRST_READ_SIZE: Final = 10
"""Revisions in the first read, when their size is not known yet."""

_MAX_READ_SIZE: Final = 100
"""The most revisions in one read."""

_MAX_GROWTH: Final = 4
"""The factor by which a read may be larger than the one before. It is small because one document may have 8 MB."""

_TARGET_BYTES: Final = 1024 * 1024
"""The size of a read in bytes that the number of revisions is chosen for."""

_MAX_INLINE_BYTES: Final = 64 * 1024
"""The most bytes of attachments that are sent inside their document. Larger ones are streamed.

The value is CouchDB's ``MAX_BULK_ATT_SIZE``.
"""

_ATTEMPTS: Final = 3
"""How often the write of one document is tried: the server may fail, or attachments may be cut off or change."""

_BACKOFF: Final = Backoff(0.2)

_NO_GENERATION: Final = -1
"""A number below any generation of a document and any ``revpos``."""

_T = TypeVar("_T")


class Transfer:
    """The transfer of revisions from one peer to another. It adds to the counts of the replication."""

    def __init__(self, source: Peer, target: Peer, counts: ReplicationCounts) -> None:
        self._source = source
        self._target = target
        self._counts = counts
        self._read_size = _FIRST_READ_SIZE
        self._has_bulk_get = True
        self.refused: dict[str, None] = {}
        """The ids of documents of which a revision could not be read or written, and none was written after it."""

    async def copy_missing(self, revs: Mapping[str, Sequence[str]]) -> None:
        """Copy the revisions that the target lacks. They are given by document."""
        missing = await self._target.revs_diff(revs)
        self._counts.missing_checked += sum(map(len, revs.values()))
        revisions = [(id, rev) for id, found in missing.items() for rev in found["missing"]]
        self._counts.missing_found += len(revisions)
        known = {id: found.get("possible_ancestors", ()) for id, found in missing.items()}
        while revisions:
            # The size is looked up anew each time, since each read changes it.
            some, revisions = revisions[: self._read_size], revisions[self._read_size :]
            await self._write(await self._read(some), known)

    # --- reading

    async def _read(self, revisions: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """Return revisions. For a revision that is superseded by now, return its successors.

        A revision that cannot be read is counted as a failure and left out.
        """
        try:
            return await self._read_bulk(revisions)
        except ResponseError as error:
            # An error that every document would get ends the replication. Otherwise it is about one of these.
            if await self._source.refuses_all(error, reads=True):
                raise
            if len(revisions) == 1:
                self._count_failure(*revisions[0], error)
                return []
            # One of them cannot be read. Halves find it, and the others are copied.
            half = len(revisions) // 2
            return [*await self._read(revisions[:half]), *await self._read(revisions[half:])]

    async def _read_bulk(self, revisions: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        if self._has_bulk_get:
            try:
                return await self._bulk_get(revisions)
            except (NotFoundError, MethodNotAllowedError, UnsupportedError):
                self._has_bulk_get = False
        by_id: dict[str, list[str]] = {}
        for id, rev in revisions:
            by_id.setdefault(id, []).append(rev)
        rows = [row for id, revs in by_id.items() for row in await self._source.open_revisions(id, revs)]
        return self._collect_found(rows)

    async def _bulk_get(self, revisions: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        self._counts.bulk_get_attempts += len(revisions)
        results, size = await self._source.bulk_get([{"id": id, "rev": rev} for id, rev in revisions])
        found = self._collect_found([row for result in results for row in result["docs"]])
        self._counts.bulk_get_docs += len(found)
        # From the size of the last read: as many as make a megabyte, within bounds.
        self._read_size = max(
            1, min(_MAX_READ_SIZE, _MAX_GROWTH * self._read_size, len(revisions) * _TARGET_BYTES // max(size, 1))
        )
        return found

    def _collect_found(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the revisions in the rows of an answer.

        A revision without one was purged, or compacted away after a later revision, which comes with a later change.
        """
        for row in rows:
            if "ok" not in row:
                _log.info(
                    "%s does not have a revision any more: %s",
                    self._source.name,
                    row.get("error") or row.get("missing"),
                )
        found = {(row["ok"]["_id"], row["ok"]["_rev"]): row["ok"] for row in rows if "ok" in row}
        self._counts.docs_read += len(found)
        return list(found.values())

    # --- writing

    async def _write(self, documents: Sequence[dict[str, Any]], known: Mapping[str, Sequence[str]]) -> None:
        together: list[dict[str, Any]] = []
        for document in documents:
            if not document.get("_attachments"):
                together.append(document)
            else:
                await self._write_with_attachments(document, known.get(document["_id"], ()))
        if together:
            await self._write_bulk(together)

    async def _write_bulk(self, documents: Sequence[dict[str, Any]]) -> None:
        try:
            refused = await self._try_write(len(documents) == 1, self._target.write_documents, documents)
        except ResponseError as error:
            if await self._target.refuses_all(error):
                raise
            if len(documents) == 1:
                self._count_failure(documents[0]["_id"], documents[0]["_rev"], error)
                return
            # One of them makes all fail. Halves find it, and the others are written.
            half = len(documents) // 2
            await self._write_bulk(documents[:half])
            await self._write_bulk(documents[half:])
            return
        for row in refused:
            _log.warning(
                "%s refused %r, revision %s: %s, %s",
                *(self._target.name, row.get("id"), row.get("rev"), row["error"], row.get("reason")),
            )
        self._note_written(documents)
        self.refused.update(dict.fromkeys(row["id"] for row in refused if "id" in row))
        self._counts.doc_write_failures += len(refused)
        self._counts.docs_written += len(documents) - len(refused)

    async def _write_with_attachments(
        self, document: dict[str, Any], ancestors: Sequence[str], tries: int = _ATTEMPTS
    ) -> None:
        """Write a document with attachments in a request of its own.

        A bulk request would fail as a whole if one stub has no content at the target.
        """
        try:
            await self._try_write(
                True, self._send_with_attachments, document, _newest_common_generation(document, ancestors)
            )
        except _MissingContentError:
            await self._write_successors(document, tries - 1)
        except ResponseError as error:
            if await self._refuses_all(error):
                raise
            self._count_failure(document["_id"], document["_rev"], error)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, CouchModelError):
                raise
            self._count_failure(
                document["_id"], document["_rev"], BadRequestError(f"its attachments are malformed: {error!r}")
            )
        else:
            self._note_written([document])
            self._counts.docs_written += 1

    async def _write_successors(self, document: Mapping[str, Any], tries: int) -> None:
        """Write the successors of a revision whose attachments are gone, for example after a compaction."""
        id, rev = document["_id"], document["_rev"]
        for successor in await self._read([(id, rev)]):
            if successor["_rev"] == rev or not tries:
                self._count_failure(id, rev, NotFoundError("the source has no content for one of its attachments"))
            elif successor.get("_attachments"):
                await self._write_with_attachments(successor, (), tries)
            else:
                await self._write_bulk([successor])

    async def _refuses_all(self, error: ResponseError) -> bool:
        """Return True if the target would refuse every other document, too.

        401 may come from a validation function, for one document, or from the server, for every request.
        """
        if isinstance(error, UnauthorizedError):
            return not await self._target.exists()
        return await self._target.refuses_all(error)

    async def _try_write(self, is_one: bool, write: Callable[..., Awaitable[_T]], *given: Any) -> _T:
        """Return the result of a write. A write of one document (``is_one``) is repeated after temporary errors."""

        def is_temporary(error: BaseException) -> bool:
            # The peer has sent a bulk request again already after a lost answer.
            return isinstance(error, ServerError) or (
                isinstance(error, ProtocolError) and write != self._target.write_documents
            )

        return await retry(
            lambda: write(*given),
            attempts=_ATTEMPTS if is_one else 1,
            backoff=_BACKOFF,
            is_temporary_error=is_temporary,
            before_wait=lambda error: _log.info("a write to %s is sent again: %s", self._target.name, error),
        )

    async def _send_with_attachments(self, document: Mapping[str, Any], newest_common: int) -> None:
        """Send a document with the attachments that the target lacks.

        ``newest_common`` is the newest generation that the target has of its ancestors, or ``_NO_GENERATION``. Raises
        _MissingContentError if the revision is not at the source any more.
        """
        attachments = document["_attachments"]
        kept = {name: stub for name, stub in attachments.items() if stub.get("revpos", 0) <= newest_common}
        sent = {name: stub for name, stub in attachments.items() if name not in kept}
        try:
            await self._send(document, kept, sent)
        except PreconditionFailedError:
            if not kept:
                raise
            await self._send(document, {}, attachments)  # the target lacks the content of a stub

    async def _send(self, document: Mapping[str, Any], kept: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        if not all(is_media_type(stub["content_type"]) for stub in sent.values()):
            await self._send_whole(document)
            return
        is_encoded = any("encoding" in stub for stub in sent.values())
        if not is_encoded and sum(stub["length"] for stub in sent.values()) <= _MAX_INLINE_BYTES:
            await self._send_inline(document, kept, sent)
            return
        try:
            await self._send_streamed(document, kept, sent)
        except (UnsupportedError, UnsupportedMediaTypeError):
            await self._send_inline(document, kept, sent)
        except _LengthMismatchError as error:
            _log.info("%r is sent as JSON: %s", document["_id"], error)
            await self._send_whole(document)

    async def _send_whole(self, document: Mapping[str, Any]) -> None:
        """Send a document as JSON with all its attachments. JSON can carry media types that no header can."""
        found = await self._source.revision_with_attachments(document["_id"], document["_rev"])
        if found is None:
            raise _MissingContentError("missing")
        await self._target.write_document(document["_id"], encode(found))

    async def _send_inline(self, document: Mapping[str, Any], kept: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        given = {name: await self._inline_stub(document, name, stub) for name, stub in sent.items()}
        await self._target.write_document(document["_id"], encode({**document, "_attachments": {**kept, **given}}))

    async def _inline_stub(self, document: Mapping[str, Any], name: str, stub: Mapping[str, Any]) -> dict[str, Any]:
        data = b""
        if stub["length"] != 0:
            source = self._source.attachment(document["_id"], document["_rev"], name, plain=True)
            data = b"".join([piece async for piece in _read_content(source)])
        members = {key: stub[key] for key in ("content_type", "revpos") if key in stub}
        return {**members, "data": base64.b64encode(data).decode()}

    async def _send_streamed(
        self, document: Mapping[str, Any], kept: Mapping[str, Any], sent: Mapping[str, Any]
    ) -> None:
        # CouchDB waits for ever for the content of a part that has none.
        empty = {name: _replace_stub(stub, data="") for name, stub in sent.items() if not _stored_length(stub)}
        streamed = {name: stub for name, stub in sent.items() if name not in empty}
        follow = {name: _replace_stub(stub, follows=True) for name, stub in streamed.items()}
        text = encode({**document, "_attachments": {**kept, **empty, **follow}})
        parts = [AttachmentPart(name, stub["content_type"], _stored_length(stub)) for name, stub in streamed.items()]
        related = MultipartRelated(text, parts)
        body = _CopiedBody(related.body(self._read_part(document, part) for part in parts))
        headers = {"accept": JSON_TYPE, "content-type": related.content_type, "content-length": str(related.length)}
        try:
            await self._target.write_document(document["_id"], body, headers)
        except CouchModelError as error:
            raise body.source_error or error from error

    async def _read_part(self, document: Mapping[str, Any], part: AttachmentPart) -> AsyncIterator[bytes]:
        length = 0
        async for piece in _read_content(self._source.attachment(document["_id"], document["_rev"], part.name)):
            length += len(piece)
            if length > part.length:
                break
            yield piece
        if length != part.length:
            raise _LengthMismatchError(
                f"attachment {part.name!r} does not have {part.length} bytes, as its document says"
            )

    def _count_failure(self, id: str, rev: str, error: ResponseError) -> None:
        _log.warning("%s refused %r, revision %s: %s, %s", self._target.name, id, rev, error.code, error.reason)
        self._counts.doc_write_failures += 1
        self.refused[id] = None

    def _note_written(self, documents: Sequence[Mapping[str, Any]]) -> None:
        if self.refused:
            for document in documents:
                self.refused.pop(document["_id"], None)


class _MissingContentError(NotFoundError):
    """A revision or one of its attachments is not at the source any more."""


class _LengthMismatchError(ProtocolError):
    """An attachment is longer or shorter than its document says."""


async def _read_content(content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield a content of the source. Raises _MissingContentError if it is not there any more."""
    try:
        async for piece in content:
            yield piece
    except NotFoundError as error:
        raise _MissingContentError(error.reason) from error


class _CopiedBody:
    """A body whose contents are read from the source while they are sent to the target."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self.source_error: CouchModelError | None = None
        """The error of the source, or None. The target may have answered the torn body with an error of its own."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except CouchModelError as error:
            self.source_error = error
            raise


def _stored_length(stub: Mapping[str, Any]) -> int:
    return int(stub["encoded_length"] if "encoding" in stub else stub["length"])


def _replace_stub(stub: Mapping[str, Any], **content: Any) -> dict[str, Any]:
    """Return a stub with ``data`` or ``follows`` in place of ``stub``."""
    members = {name: value for name, value in stub.items() if name != "stub"}
    if "data" in content:  # the target computes length and digest
        members = {name: members[name] for name in ("content_type", "revpos") if name in members}
    return members | content


def _newest_common_generation(document: Mapping[str, Any], ancestors: Sequence[str]) -> int:
    """Return the generation of the document's newest ancestor at the target, which has its attachments until then, too.

    Return _NO_GENERATION if the target has no ancestor. 0 does not do, because a ``revpos`` may be 0.
    """
    history = document["_revisions"]
    path = {f"{history['start'] - older}-{digest}" for older, digest in enumerate(history["ids"])}
    return max((int(rev.partition("-")[0]) for rev in ancestors if rev in path), default=_NO_GENERATION)
