"""Files that are sent inside the JSON texts of their documents, in a bulk write. Larger ones need a request each."""

import base64
from collections.abc import Mapping
from typing import Any, Final

from couchmodel._model.attachments.files import File
from couchmodel._model.attachments.rules import label_of
from couchmodel._model.attachments.stubs import set_stubs
from couchmodel._model.attachments.upload import check_required, prepare_files
from couchmodel._model.codec import codec
from couchmodel._model.schema import state
from couchmodel._model.schema.attachments import owner_of
from couchmodel._wire.contents import ContentDigest
from couchmodel._wire.messages import decode, encode
from couchmodel.types import JSONObject

__all__ = ["InlineFiles", "note_inline_files"]

_MAX_BYTES: Final = 64 * 1024
"""The most bytes of a document's files in a bulk write. Base64 makes them a third longer, and both sides decode it."""


class InlineFiles:
    """The files of the documents of one bulk write.

    ``large`` has the documents whose files are too large for it.
    """

    def __init__(self) -> None:
        self.large: list[Any] = []
        self._sent: list[tuple[Any, str | None, Mapping[str, File | None]]] = []

    async def body_of(self, document: Any) -> bytes | None:
        """Return the JSON text to send of a document, with the files that were assigned to it.

        The result is None if there is nothing to save, and if the files are too large. Raises AttachmentError,
        DocumentError.
        """
        files = await prepare_files(document)
        body = codec.body_to_send(document) or (state.stored_body(document) if files else None)
        if body is None:
            return None
        check_required(document)
        return body if not files else await self._add(document, body, files)

    async def _add(self, document: Any, body: bytes, files: Mapping[str, File | None]) -> bytes | None:
        if sum(file.length or 0 for file in files.values() if file is not None) > _MAX_BYTES:
            self.large.append(document)
            return None
        members = decode(body)
        stubs = {name: stub for name, stub in members.pop("_attachments", {}).items() if name not in files}
        for name, file in files.items():
            if file is not None:
                stubs[name] = await _inline_stub(document, name, file)
        self._sent.append((document, document.rev, files))
        return encode({**members, "_attachments": stubs} if stubs else members)

    def note_stored(self) -> None:
        """Record for each document that was stored that its files are stored."""
        for document, before, files in self._sent:
            # A document whose revision has not changed was refused, and keeps its files.
            if document.rev in (None, before):
                continue
            sent = decode(state.stored_body(document) or b"{}").get("_attachments", {})
            # An earlier attempt may be stored in place of this one, without these files.
            state.forget_files(document, {name: file for name, file in files.items() if _is_sent(file, sent.get(name))})
            note_inline_files(document)


def note_inline_files(document: Any) -> None:
    """Put stubs in place of the contents that are in the text of a stored document, because it was sent with them."""
    members = decode(state.stored_body(document) or b"{}")
    revpos = int((document.rev or "0").partition("-")[0])
    stubs = {name: _stub_of(stub, revpos) for name, stub in members.pop("_attachments", {}).items()}
    set_stubs(document, stubs)
    state.set_stored_body(document, encode({**members, "_attachments": stubs} if stubs else members))


def _is_sent(file: File | None, stub: JSONObject | None) -> bool:
    return stub is None if file is None else stub is not None and "data" in stub


async def _inline_stub(document: Any, name: str, file: File) -> JSONObject:
    """Return a stub with the content. CouchDB compares its digest with the content."""
    digest, content = ContentDigest(), bytearray()
    async for piece in file.pieces(label_of(document, owner_of(type(document), name), name)):
        digest.update(piece)
        content += piece
    return {"content_type": file.content_type, "digest": str(digest), "data": base64.b64encode(content).decode()}


def _stub_of(stub: JSONObject, revpos: int) -> JSONObject:
    """Return the stub of an attachment that was sent with its content. CouchDB may have compressed it."""
    if "data" not in stub:
        return stub
    length = len(base64.b64decode(stub["data"]))
    # The digest may be that of compressed bytes, so it is left out.
    return {"content_type": stub["content_type"], "length": length, "revpos": revpos, "stub": True}
