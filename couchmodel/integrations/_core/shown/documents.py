"""The form in which clients see a document: its id, its revision, its fields, and what is known of its attachments."""

from typing import Any, NamedTuple
from urllib.parse import quote
from weakref import WeakKeyDictionary

from pydantic_core import to_json

from couchmodel._model.attachments.info import AttachmentInfo
from couchmodel._model.model import CouchModel
from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import holds_several
from couchmodel._model.schema.attachments import attachment_fields

__all__ = ["show", "show_json"]


def show_json(document: CouchModel, url: str | None = None) -> bytes:
    """Return what clients see of a document as JSON. ``url`` is where the document is read."""
    parts = _parts.get(type(document)) or _find_parts(type(document))
    # pydantic writes the fields without an object of each in between. Attachments have addresses that only the API
    # knows, so they are added to the text.
    body = document.__pydantic_serializer__.to_json(document, by_alias=True, exclude=parts.excluded)
    if not parts.excluded:
        return body
    # ``vars`` has the stubs. An attribute would make an object for each attachment.
    has_attachments = any(map(vars(document).get, parts.excluded)) or state.assigned_files(document)
    shown = to_json(_show_attachments(document, url)) if has_attachments else parts.without_attachments
    return b"%b,%b" % (body[:-1], shown[1:])


def show(document: CouchModel, url: str | None = None) -> dict[str, Any]:
    """Return what clients see of a document, as values that are written as JSON."""
    names = set(attachment_fields(type(document)))
    shown: dict[str, Any] = document.__pydantic_serializer__.to_python(
        document, mode="json", by_alias=True, exclude=names
    )
    return shown | _show_attachments(document, url)


def _show_attachments(document: CouchModel, url: str | None) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in attachment_fields(type(document)):
        place = None if url is None else f"{url}/{quote(name, safe='')}"
        info = getattr(document, name).info()
        if holds_several(type(document).__pydantic_fields__[name].annotation):
            shown[name] = {
                key: _located(each, place and f"{place}/{quote(key, safe='')}") for key, each in info.items()
            }
        else:
            shown[name] = _located(info, place)
    return shown


class _Parts(NamedTuple):
    """The attachment fields of a model, and what a document without attachments shows of them."""

    excluded: set[str] | None
    without_attachments: bytes


_parts: WeakKeyDictionary[type, _Parts] = WeakKeyDictionary()


def _find_parts(model: type[CouchModel]) -> _Parts:
    fields = model.__pydantic_fields__
    empty: dict[str, Any] = {
        name: {} if holds_several(fields[name].annotation) else None for name in attachment_fields(model)
    }
    _parts[model] = found = _Parts(set(empty) or None, to_json(empty))
    return found


def _located(info: AttachmentInfo | None, url: str | None) -> Any:
    """Return what is known of an attachment, with its address in the API instead of the one in the store."""
    return None if info is None else {**info.model_dump(), "url": url}
