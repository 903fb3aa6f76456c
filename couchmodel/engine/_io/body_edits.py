"""What is done to the members of a document and to its JSON text, wherever it is stored."""

from couchmodel._wire.messages import decode, encode
from couchmodel.types import JSONObject

__all__ = ["attach", "with_rev"]


def with_rev(body: bytes, old: str | None, new: str) -> bytes:
    """A document's text with another revision."""
    if old is None:
        return b'%b,"_rev":"%b"}' % (body[:-1], new.encode())
    member = b'"_rev":' + encode(old)
    if body.count(member) == 1:
        return body.replace(member, b'"_rev":' + encode(new))
    return encode({**decode(body), "_rev": new})


def attach(document: JSONObject, rev: str, name: str, stub: JSONObject | None) -> None:
    """Put in what the write of an attachment has made of a document; ``stub`` is None for a deletion."""
    document["_rev"] = rev
    stubs = {key: value for key, value in document.get("_attachments", {}).items() if key != name}
    if stub is not None:
        stubs[name] = stub
    document.pop("_attachments", None)
    if stubs:
        document["_attachments"] = stubs
