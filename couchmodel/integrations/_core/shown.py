"""What clients see of a document: its id, its revision, its fields, and what is known of its attachments."""

from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from pydantic_core import to_json

from couchmodel._model.model import CouchModel
from couchmodel._model.schema.annotations import is_attachment
from couchmodel._model.schema.fields import AttachmentField

__all__ = ["attachment_field", "attachment_fields", "show", "show_json"]


def show_json(document: CouchModel, url: str | None = None) -> bytes:
    """Return what clients see of a document as JSON. ``url`` is where the document is read."""
    body = document.__pydantic_serializer__.to_json(document, by_alias=True)
    if not attachment_fields(type(document)):
        return body
    return b"%b,%b" % (body[:-1], to_json(_show_attachments(document, url))[1:])


def show(document: CouchModel, url: str | None = None) -> dict[str, Any]:
    """Return what clients see of a document, as values that are written as JSON."""
    shown: dict[str, Any] = document.__pydantic_serializer__.to_python(document, mode="json", by_alias=True)
    return shown | _show_attachments(document, url)


def attachment_fields(model: type[CouchModel]) -> tuple[str, ...]:
    """Return the names of the attachment fields of a model."""
    found = _attachments.get(model)
    if found is None:
        fields = model.__pydantic_fields__
        _attachments[model] = found = tuple(name for name in fields if is_attachment(fields[name].annotation))
    return found


def attachment_field(model: type[CouchModel], name: str) -> AttachmentField:
    """Return the declaration of an attachment field."""
    field: AttachmentField = next(vars(base)[name] for base in model.__mro__ if name in vars(base))
    return field


def _show_attachments(document: CouchModel, url: str | None) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in attachment_fields(type(document)):
        attachment = getattr(document, name)
        if attachment.content_type is None:
            shown[name] = None
        else:
            shown[name] = {
                "content_type": attachment.content_type,
                "length": attachment.length,
                "digest": attachment.digest,
                "url": None if url is None else f"{url}/{quote(name, safe='')}",
            }
    return shown


_attachments: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()
