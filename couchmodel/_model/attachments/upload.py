"""Documents that are saved together with the files that were assigned to them, in one request and one revision."""

from collections.abc import Mapping
from typing import Any

from couchmodel._model.attachments.files import File
from couchmodel._model.attachments.rules import label_of, settle
from couchmodel._model.attachments.stubs import set_stubs, stub_of
from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import holds_several
from couchmodel._model.schema.attachments import AttachmentLabel, attachment_fields, owner_of
from couchmodel._wire.messages import Request, decode, document_path, encode
from couchmodel.engine import Session, Upload
from couchmodel.engine._io.downloads import attachment_pieces
from couchmodel.engine.attachment import attachment_path
from couchmodel.engine.multipart import write_document
from couchmodel.types import WriteAnswer

__all__ = ["check_required", "prepare_files", "send_with_files", "with_expected_stubs"]


async def prepare_files(document: Any) -> Mapping[str, File | None]:
    """Return the files that are to be stored with a document, by name; None for attachments that are to be removed.

    Raises AttachmentError if a file cannot be read, or if its field does not allow its media type or its size.
    """
    if document.rev is None:
        _assign_files_of_original(document)
    files = state.assigned_files(document)
    for name, file in files.items():
        if file is not None:
            await settle(file, document, name)
    return files


def _assign_files_of_original(document: Any) -> None:
    """Assign the attachments of a stored document to a copy that is to be a new one. Their bytes are sent again."""
    body = state.stored_body(document)
    repository = None if body is None else state.repository(document)
    if body is None or repository is None:
        return
    original = decode(body)
    for name, stub in original.get("_attachments", {}).items():
        owner = owner_of(type(document), name)
        # A file that was assigned to the copy counts, and an attachment that was removed from it is not copied.
        if owner is None or name in state.assigned_files(document) or not stub_of(document, owner.field_name, name):
            continue
        path = attachment_path(document_path(repository.path, original["_id"]), name)
        content = attachment_pieces(repository.session, path, original["_rev"])
        # CouchDB has no stubs of another document, so the bytes are fetched.
        state.set_file(document, name, File(content, stub["content_type"]))


def check_required(document: Any) -> None:
    """Raise AttachmentError if a document would be stored with a required attachment missing or empty."""
    for field_name, field in attachment_fields(type(document)).items():
        if not field.required:
            continue
        attachment = getattr(document, field_name)
        label = label_of(document, field, field.name)
        if not attachment:
            raise label.error("is required: assign a File(…) to it before you save the document")
        if not holds_several(type(document).__pydantic_fields__[field_name].annotation):
            field.check_size(attachment.length or 0, label)


def with_expected_stubs(body: bytes, files: Mapping[str, File | None]) -> bytes:
    """Return the text of a document with the stubs that it will have when it is stored with files, as far as known."""
    if not files:
        return body
    members = decode(body)
    stubs = {name: stub for name, stub in members.pop("_attachments", {}).items() if name not in files}
    stubs |= {name: {"length": file.length} for name, file in files.items() if file is not None}
    return encode({**members, "_attachments": stubs})


async def send_with_files(
    session: Session, path: tuple[str, ...], document: Any, body: bytes, files: Mapping[str, File | None]
) -> tuple[bytes, WriteAnswer]:
    """Store a document together with files, and return its text with the stubs that it has now, and CouchDB's answer.

    Raises the errors of ``write_document``.
    """
    if not files:
        return body, await session.json(Request("PUT", path, body=body))
    members = decode(body)
    # A document keeps the attachments whose stubs it is sent with, and loses the others.
    stubs = {name: stub for name, stub in members.pop("_attachments", {}).items() if name not in files}
    if stubs:
        members["_attachments"] = stubs
    uploads = {name: _upload_of(document, name, file) for name, file in files.items() if file is not None}
    if uploads:
        answer, stubs = await write_document(session, path, members, uploads)
        members["_attachments"] = stubs
    else:
        answer = await session.json(Request("PUT", path, body=encode(members)))
    set_stubs(document, stubs)
    state.forget_files(document, files)
    return encode(members), answer


def _upload_of(document: Any, name: str, file: File) -> Upload:
    label = label_of(document, owner_of(type(document), name), name)
    return Upload(_Content(file, label), file.content_type, file.length)


class _Content:
    """The content of a file as it is sent. It can be read several times."""

    def __init__(self, file: File, label: AttachmentLabel) -> None:
        self._file = file
        self._label = label

    def __aiter__(self) -> Any:
        # A request that is sent again reads the content from its beginning.
        return self._file.pieces(self._label)
