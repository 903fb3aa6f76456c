"""The description of an attachment in an API: its media type, length, digest and address, and never its bytes."""

from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, FieldSerializationInfo

from couchmodel._model.schema import state

__all__ = ["AttachmentInfo", "attachment_url", "describe"]


class AttachmentInfo(BaseModel):
    """What is known of an attachment. Type and length of a file that is not saved yet may be unknown.

    ``url`` is its path below the address at which files are served: database, document and name.
    """

    content_type: str | None
    length: int | None
    digest: str | None
    url: str | None


def describe(document: Any, stub: Any, info: FieldSerializationInfo) -> Any:
    """Return the form in which a document is dumped of its attachment, or of several by name."""
    # The attachment has what the stub lacks: the file that was assigned, and the address.
    return getattr(document, info.field_name).info()


def attachment_url(document: Any, name: str) -> str | None:
    """Return the path of an attachment; None if the database of the document is not known."""
    repository = state.repository(document)
    database = document.__declared__.database if repository is None else repository.database.id
    if database is None:
        return None
    return "/" + "/".join(quote(each, safe="") for each in (database, document.id, name))
