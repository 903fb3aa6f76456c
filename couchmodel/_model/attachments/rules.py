"""The rules of fields for the files that are stored in them, and the words that name an attachment."""

from typing import Any

from couchmodel._model.attachments.files import File
from couchmodel._model.schema.attachments import AttachmentField, AttachmentLabel, owner_of

__all__ = ["label_of", "settle"]


def label_of(document: Any, field: AttachmentField | None, name: str) -> AttachmentLabel:
    """Return what names an attachment in an error."""
    if field is None:
        return AttachmentLabel(f"attachment {name!r} of {document.id!r}")
    # One attachment of several is named by its stored name.
    shown = field.field_name if field.name == name else name
    return AttachmentLabel(f"attachment {shown!r} of {document.id!r}", field.field_name)


async def settle(file: File, document: Any, name: str) -> None:
    """Find out the length and the media type of a file, and check both by the rules of its field."""
    field = owner_of(type(document), name)
    label = label_of(document, field, name)

    def check(count: int) -> None:
        if field is not None:
            field.check_size(count, label, is_whole=False)

    await file.settle(label, check)
    if field is not None:
        field.check_type(file.content_type or "", label)
        field.check_size(file.length or 0, label)
