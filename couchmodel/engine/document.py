"""A document as a mutable mapping, with the address it is stored at."""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Protocol

from couchmodel._wire.messages import NOTHING, Request, decode, document_path, encode
from couchmodel.engine.attachment import Attachment
from couchmodel.engine.session import Session
from couchmodel.errors import ConfigurationError, ConflictError, NotFoundError
from couchmodel.types import JSONObject, WriteAnswer

__all__ = ["Document"]


class Place(Protocol):
    """Where documents are: a session and the path of a database."""

    @property
    def session(self) -> Session: ...
    @property
    def path(self) -> tuple[str, ...]: ...


class Document(MutableMapping[str, Any]):
    """The members of a document, ``_id`` and ``_rev`` among them. Making one sends nothing.

    What is changed here is stored by :meth:`save`, which sends nothing where nothing has changed.
    """

    def __init__(self, database: Place, id: str, data: Mapping[str, Any] | None = None) -> None:
        """Raises BadRequestError for an id that no document may have."""
        self.session = database.session
        self.path = document_path(database.path, id)
        self._data: JSONObject = {**(data or {}), "_id": id}
        self._stored: bytes | None = None

    def __repr__(self) -> str:
        return f"<Document {'/'.join(self.path)} {self.rev or 'not stored'}>"

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "_id" and value != self.id:
            raise ConfigurationError(f"the id of {self.id!r} cannot change: copy the document instead")
        self._data[key] = value

    def __delitem__(self, key: str) -> None:
        if key == "_id":
            raise ConfigurationError(f"the id of {self.id!r} cannot be taken away")
        del self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    @property
    def id(self) -> str:
        """The ``_id``."""
        document_id: str = self._data["_id"]
        return document_id

    @property
    def rev(self) -> str | None:
        """The ``_rev`` it was loaded with or stored as; None while it is not stored."""
        return self._data.get("_rev")

    @property
    def exists(self) -> bool:
        """Whether it was loaded or saved, and not deleted since, as far as is known here."""
        return self.rev is not None and not self._data.get("_deleted")

    @property
    def data(self) -> JSONObject | None:
        """The live dictionary of its members; None while it does not exist."""
        return self._data if self.exists else None

    @property
    def json(self) -> JSONObject:
        """A copy of its members without CouchDB's own, which begin with an underscore."""
        return {key: value for key, value in self._data.items() if not key.startswith("_")}

    @property
    def changed(self) -> bool:
        """Whether :meth:`save` has something to send."""
        return self._stored is None or decode(self._stored) != decode(encode(self._data))

    async def fetch(self, discard_changes: bool = False, rev: str | None = None) -> None:
        """Load what is stored. Raises NotFoundError; ConflictError where that would lose changes made here."""
        if not discard_changes and self.changed and len(self._data) > 1:
            raise ConflictError(f"{self.id!r} has unsaved changes: save it, or fetch(discard_changes=True)")
        response = await self.session.send(Request("GET", self.path, {"rev": rev} if rev else NOTHING))
        self.load(response.body)

    async def save(self) -> WriteAnswer | None:
        """Store it; None, and nothing is sent, where nothing has changed. Raises ConflictError."""
        if not self.changed:
            return None
        body = encode(self._data)
        answer: WriteAnswer = await self.session.json(Request("PUT", self.path, body=body))
        self._stored_as(answer["rev"])
        return answer

    async def delete(self, discard_changes: bool = False) -> WriteAnswer:
        """Delete it. Raises NotFoundError, or ConflictError where it has been changed, here or there."""
        if self.rev is None:
            raise NotFoundError(f"{self.id!r} is not stored, so it cannot be deleted")
        if self.changed and not discard_changes:
            raise ConflictError(f"{self.id!r} has unsaved changes: save it, or delete(discard_changes=True)")
        answer: WriteAnswer = await self.session.json(Request("DELETE", self.path, {"rev": self.rev}))
        self._data = {"_id": self.id}
        self._stored = None
        return answer

    def attachment(self, id: str) -> Attachment:
        """An attachment by name; nothing is sent."""
        return Attachment(self, id)

    def attached(self, rev: str, name: str, stub: JSONObject | None) -> None:
        """Take note of what an attachment's write has made of the stored document; ``stub`` is None for a deletion."""
        if self._stored is not None:
            stored = decode(self._stored)
            _attach(stored, rev, name, stub)
            self._stored = encode(stored)
        _attach(self._data, rev, name, stub)

    def load(self, body: bytes) -> None:
        """Take over what is stored, as its JSON text."""
        self._data = decode(body)
        self._stored = body

    def _stored_as(self, rev: str) -> None:
        self._data["_rev"] = rev
        self._stored = encode(self._data)


def _attach(document: JSONObject, rev: str, name: str, stub: JSONObject | None) -> None:
    document["_rev"] = rev
    stubs = {key: value for key, value in document.get("_attachments", {}).items() if key != name}
    if stub is not None:
        stubs[name] = stub
    document.pop("_attachments", None)
    if stubs:
        document["_attachments"] = stubs
