"""The stubs of a document's attachments: what CouchDB says of each without its bytes."""

from collections.abc import Mapping
from typing import Any

from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import holds_several
from couchmodel._model.schema.attachments import attachment_fields
from couchmodel._wire.messages import decode, encode
from couchmodel.types import JSONObject

__all__ = ["note_write", "set_stubs", "stored_stubs", "stub_of"]


def stored_stubs(document: Any) -> JSONObject:
    """Return the stubs of all attachments of the stored revision by name."""
    body = state.stored_body(document)
    found: JSONObject = {} if body is None else decode(body).get("_attachments", {})
    return found


def stub_of(document: Any, field_name: str, name: str) -> JSONObject:
    """Return the stub of the attachment of a field; an empty one if the document has no such attachment."""
    value: JSONObject = vars(document).get(field_name) or {}
    if holds_several(type(document).__pydantic_fields__[field_name].annotation):
        value = value.get(name) or {}
    return value


def set_stubs(document: Any, stubs: Mapping[str, Any]) -> None:
    """Set the stubs that the fields of a document have, given those of all its attachments."""
    for field_name, field in attachment_fields(type(document)).items():
        several = holds_several(type(document).__pydantic_fields__[field_name].annotation)
        # An assignment to the attribute would be taken for that of a file.
        vars(document)[field_name] = dict(stubs) if several else stubs.get(field.name)


def note_write(document: Any, rev: str, name: str, stub: JSONObject | None) -> None:
    """Record that an attachment alone was written as revision ``rev``; ``stub`` is None if it was deleted."""
    state.set_rev(document, rev)
    state.forget_files(document, {name: state.assigned_files(document).get(name)})
    stored = decode(state.stored_body(document) or b"{}")
    stubs = {key: each for key, each in stored.pop("_attachments", {}).items() if key != name}
    if stub is not None:
        stubs[name] = stub
    set_stubs(document, stubs)
    # The text of a document that was not loaded stays unknown, since only its attachments are known now.
    if stored:
        members = {**stored, "_rev": rev}
        state.set_stored_body(document, encode({**members, "_attachments": stubs} if stubs else members))
