"""The events of a ``_changes`` feed, each the change of one document."""

from collections.abc import Iterator, Mapping
from typing import Any

from couchmodel._wire.messages import encode
from couchmodel.engine.document import DatabaseAddress, Document
from couchmodel.types import JSONObject

__all__ = ["BaseChangeEvent", "ChangedEvent", "DeletedEvent"]


class BaseChangeEvent(Mapping[str, Any]):
    """A change of a document. As a mapping it has the members of CouchDB's row in ``_changes``."""

    def __init__(self, json: JSONObject) -> None:
        self.json = json

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} {self.rev}>"

    def __getitem__(self, key: str) -> Any:
        return self.json[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.json)

    def __len__(self) -> int:
        return len(self.json)

    @property
    def id(self) -> str:
        """The id of the document."""
        document_id: str = self.json["id"]
        return document_id

    @property
    def rev(self) -> str:
        """The new winning revision of the document. With ``style="all_docs"`` CouchDB lists it first of several."""
        rev: str = self.json["changes"][0]["rev"]
        return rev

    @property
    def sequence(self) -> str | None:
        """The sequence of the change; None for the changes that have none because of ``seq_interval``."""
        sequence: str | None = self.json["seq"]
        return sequence


class ChangedEvent(BaseChangeEvent):
    """A document was created or changed."""

    def __init__(self, json: JSONObject, database: DatabaseAddress) -> None:
        super().__init__(json)
        self.database = database

    async def doc(self) -> Document:
        """Return the document as of this change.

        It is part of the change if the feed has ``include_docs``, and is fetched otherwise. Raises NotFoundError if the
        revision is gone, as old ones are after a compaction.
        """
        document = Document(self.database, self.id)
        included = self.json.get("doc")
        if included:
            document.load_json(encode(included))
        else:
            await document.fetch(discard_changes=True, rev=self.rev)
        return document


class DeletedEvent(BaseChangeEvent):
    """A document was deleted."""
