"""Moving revisions: what the target lacks is read from the source, a bounded batch at a time, and written."""

import base64
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from couchmodel._replication.options import Counts
from couchmodel._replication.peer import Peer, is_refusal_of_one
from couchmodel._wire.messages import JSON_TYPE, encode
from couchmodel._wire.multipart import Part, Related
from couchmodel.errors import (
    MethodNotAllowedError,
    NotFoundError,
    PreconditionFailedError,
    ProtocolError,
    ResponseError,
    UnauthorizedError,
    UnsupportedError,
    UnsupportedMediaTypeError,
)

__all__ = ["Transfer"]

_log: Final = logging.getLogger("couchmodel.replication")

_FIRST: Final = 10
_MOST: Final = 100
"""Revisions that are read at once, before it is known how large they are, and at most."""

_GROWTH: Final = 4
"""How many times as many are read the next time, at most: one document may be 8 MB."""

_BYTES: Final = 1024 * 1024
"""Bytes of them that are aimed at."""

_INLINE: Final = 64 * 1024
"""Bytes of attachments that travel inside their document; larger ones stream (CouchDB's ``MAX_BULK_ATT_SIZE``)."""

_TRIES: Final = 3
"""How often a document is tried whose attachments were cut off, or have changed meanwhile."""


class Transfer:
    """Moves revisions from one peer to another, and counts."""

    def __init__(self, source: Peer, target: Peer, counts: Counts) -> None:
        self._source = source
        self._target = target
        self._counts = counts
        self._most = _FIRST
        self._knows_bulk_get = True

    async def move(self, revs: Mapping[str, Sequence[str]]) -> None:
        """Move these revisions by document, as far as the target lacks them."""
        missing = await self._target.missing(revs)
        self._counts.missing_checked += sum(map(len, revs.values()))
        wanted = [(id, rev) for id, found in missing.items() for rev in found["missing"]]
        self._counts.missing_found += len(wanted)
        known = {id: found.get("possible_ancestors", ()) for id, found in missing.items()}
        while wanted:
            some, wanted = wanted[: self._most], wanted[self._most :]
            await self._write(await self._read(some), known)

    # --- reading

    async def _read(self, wanted: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """The revisions, and instead of those that are superseded by now, their successors."""
        if self._knows_bulk_get:
            try:
                return await self._bulk_get(wanted)
            except (NotFoundError, MethodNotAllowedError, UnsupportedError):
                self._knows_bulk_get = False
        by_id: dict[str, list[str]] = {}
        for id, rev in wanted:
            by_id.setdefault(id, []).append(rev)
        rows = [row for id, revs in by_id.items() for row in await self._source.open_revisions(id, revs)]
        return self._found(rows)

    async def _bulk_get(self, wanted: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        self._counts.bulk_get_attempts += len(wanted)
        results, size = await self._source.bulk_get([{"id": id, "rev": rev} for id, rev in wanted])
        found = self._found([row for result in results for row in result["docs"]])
        self._counts.bulk_get_docs += len(found)
        self._most = max(1, min(_MOST, _GROWTH * self._most, len(wanted) * _BYTES // max(size, 1)))
        return found

    def _found(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What was read; a revision that is gone has been purged, or compacted away behind one that follows here."""
        for row in rows:
            if "ok" not in row:
                _log.info("%s has not got any more: %s", self._source.name, row.get("error") or row.get("missing"))
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
                await self._write_attached(document, known.get(document["_id"], ()))
        if together:
            await self._write_together(together)

    async def _write_together(self, documents: Sequence[dict[str, Any]]) -> None:
        try:
            refused = await self._target.write_many(documents)
        except ResponseError as error:
            if not is_refusal_of_one(error):
                raise
            if len(documents) == 1:
                self._failed(documents[0], error)
                return
            # One of them is in the way of the others.
            half = len(documents) // 2
            await self._write_together(documents[:half])
            await self._write_together(documents[half:])
            return
        for row in refused:
            _log.warning("%s refuses %r: %s", self._target.name, row.get("id"), row.get("reason"))
        self._counts.doc_write_failures += len(refused)
        self._counts.docs_written += len(documents) - len(refused)

    async def _write_attached(self, document: dict[str, Any], ancestors: Sequence[str]) -> None:
        """Write a document of its own request: that of several fails as a whole where one stub has no content."""
        there = _newest_common(document, ancestors)
        for attempt in range(_TRIES):
            try:
                await self._send_attached(document, there)
            except PreconditionFailedError:
                there = 0  # the target has not got what stubs stand for: send it all
            except (ProtocolError, NotFoundError) as error:
                if attempt + 1 == _TRIES:
                    raise
                _log.info("%r is sent again: %s", document["_id"], error)
            except ResponseError as error:
                if not await self._is_refusal_of_one(error):
                    raise
                self._failed(document, error)
                return
            else:
                self._counts.docs_written += 1
                return
        raise ProtocolError(f"{self._target.name} does not take the attachments of {document['_id']!r}")

    async def _is_refusal_of_one(self, error: ResponseError) -> bool:
        """Whether only this document is refused; 401 may be said by its validation, or to whoever asks at all."""
        return is_refusal_of_one(error) or (isinstance(error, UnauthorizedError) and await self._target.exists())

    async def _send_attached(self, document: Mapping[str, Any], there: int) -> None:
        attachments = document["_attachments"]
        kept = {name: stub for name, stub in attachments.items() if stub.get("revpos", 0) <= there}
        sent = {name: stub for name, stub in attachments.items() if name not in kept}
        encoded = any("encoding" in stub for stub in sent.values())
        if not encoded and sum(stub["length"] for stub in sent.values()) <= _INLINE:
            await self._send_inline(document, kept, sent)
            return
        try:
            await self._send_streamed(document, kept, sent)
        except (UnsupportedError, UnsupportedMediaTypeError):
            await self._send_inline(document, kept, sent)

    async def _send_inline(self, document: Mapping[str, Any], kept: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        given = {name: await self._with_data(document, name, stub) for name, stub in sent.items()}
        await self._target.write(document["_id"], encode({**document, "_attachments": {**kept, **given}}))

    async def _with_data(self, document: Mapping[str, Any], name: str, stub: Mapping[str, Any]) -> dict[str, Any]:
        source = self._source.attachment(document["_id"], document["_rev"], name, plain=True)
        data = b"".join([piece async for piece in source])
        told = {key: stub[key] for key in ("content_type", "revpos") if key in stub}
        return {**told, "data": base64.b64encode(data).decode()}

    async def _send_streamed(
        self, document: Mapping[str, Any], kept: Mapping[str, Any], sent: Mapping[str, Any]
    ) -> None:
        follow = {name: {**_without(stub, "stub"), "follows": True} for name, stub in sent.items()}
        text = encode({**document, "_attachments": {**kept, **follow}})
        parts = [Part(name, stub["content_type"], _stored_length(stub)) for name, stub in sent.items()]
        body = _Body(self._source, document, Related(text, parts), parts)
        await self._target.write(document["_id"], body, body.headers)

    def _failed(self, document: Mapping[str, Any], error: ResponseError) -> None:
        _log.warning("%s refuses %r: %s", self._target.name, document["_id"], error.reason)
        self._counts.doc_write_failures += 1


class _Body:
    """A document and its attachments, read from the source while they are sent to the target."""

    def __init__(self, source: Peer, document: Mapping[str, Any], related: Related, parts: Sequence[Part]) -> None:
        self._source = source
        self._document = document
        self._related = related
        self._parts = parts
        length = str(related.length)
        self.headers = {"accept": JSON_TYPE, "content-type": related.content_type, "content-length": length}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._related.head
        for part in self._parts:
            yield self._related.frame(part)
            length = 0
            async for piece in self._source.attachment(self._document["_id"], self._document["_rev"], part.name):
                length += len(piece)
                yield piece
            if length != part.length:
                raise ProtocolError(f"attachment {part.name!r} has {length} bytes, not {part.length}")
        yield self._related.tail


def _stored_length(stub: Mapping[str, Any]) -> int:
    return int(stub["encoded_length"] if "encoding" in stub else stub["length"])


def _without(stub: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in stub.items() if key != name}


def _newest_common(document: Mapping[str, Any], ancestors: Sequence[str]) -> int:
    """The generation of the document's newest ancestor that the target has; what was attached until then it has too."""
    history = document["_revisions"]
    path = {f"{history['start'] - older}-{digest}" for older, digest in enumerate(history["ids"])}
    return max((int(rev.partition("-")[0]) for rev in ancestors if rev in path), default=0)
