"""Changes of revision and attachments in a document's members and in its JSON text."""

from couchmodel._wire.messages import decode, encode
from couchmodel.types import JSONObject

__all__ = ["apply_stub", "with_rev"]


def with_rev(body: bytes, old: str | None, new: str) -> bytes:
    """Return the JSON text of a document with the revision ``new``; ``old`` is its revision in ``body``, if any."""
    if old is None:
        # At the end of the object. A document has at least its id, so a comma is right.
        return b'%b,"_rev":"%b"}' % (body[:-1], new.encode())
    member = b'"_rev":' + encode(old)
    # The same characters may occur in an embedded object. Then only decoding tells which is the document's revision.
    if body.count(member) == 1:
        return body.replace(member, b'"_rev":' + encode(new))
    return encode({**decode(body), "_rev": new})


def apply_stub(document: JSONObject, rev: str, name: str, stub: JSONObject | None) -> None:
    """Set the revision and the stub that the write of an attachment gave a document; no ``stub`` for a deletion."""
    document["_rev"] = rev
    stubs = {key: value for key, value in document.get("_attachments", {}).items() if key != name}
    if stub is not None:
        stubs[name] = stub
    document.pop("_attachments", None)
    if stubs:
        document["_attachments"] = stubs
