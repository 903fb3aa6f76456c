"""The text of a document that is stored in place of one which its model cannot read."""

from couchmodel._model.codec import codec
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import DocumentError

__all__ = ["body_over"]


def body_over(document: DocumentModel, stored: bytes) -> bytes:
    """Return the text to send: the members of ``stored``, and all of the document's in place of those of its names.

    If the model could not read that either, it has the attachments of ``stored`` only. Raises DocumentError if the
    document does not fit its model.
    """
    state.set_stored_body(document, None)  # so that the whole document is written
    written, before = decode(codec.body_to_send(document) or b"{}"), decode(stored)
    body = encode({**before, **written})
    try:
        codec.load(type(document), body)
    except DocumentError:
        kept = {name: value for name, value in before.items() if name == "_attachments"}
        return encode({**written, **kept})
    return body
