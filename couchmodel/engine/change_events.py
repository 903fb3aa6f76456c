"""What a feed of ``_changes`` tells: events, each the change of one document."""

from collections.abc import Iterator, Mapping
from typing import Any

from couchmodel._wire.messages import encode
from couchmodel.engine.document import Document, Place
from couchmodel.types import JSONObject

__all__ = ["BaseChangeEvent", "ChangedEvent", "DeletedEvent"]


class BaseChangeEvent(Mapping[str, Any]):
    """A change of a document, told by ``_changes``; read as a mapping, it is CouchDB's row."""

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
        """The document's id."""
        document_id: str = self.json["id"]
        return document_id

    @property
    def rev(self) -> str:
        """The revision that the document has got; with ``style="all_docs"`` the first of several, the winner."""
        rev: str = self.json["changes"][0]["rev"]
        return rev

    @property
    def sequence(self) -> str | None:
        """Where it stands among the changes; None between those that ``seq_interval`` gives a sequence."""
        sequence: str | None = self.json["seq"]
        return sequence


class ChangedEvent(BaseChangeEvent):
    """A document was created or changed."""

    def __init__(self, json: JSONObject, database: Place) -> None:
        super().__init__(json)
        self.database = database

    async def doc(self) -> Document:
        """The document as of this change.

        It came with the change where ``include_docs`` was asked for. Raises NotFoundError where that revision is gone,
        as old ones are after a compaction.
        """
        document = Document(self.database, self.id)
        told = self.json.get("doc")
        if told:
            document.load(encode(told))
        else:
            await document.fetch(discard_changes=True, rev=self.rev)
        return document


class DeletedEvent(BaseChangeEvent):
    """A document was deleted."""
