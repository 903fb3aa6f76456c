"""A document as a mutable mapping, with the address it is stored at."""

import copy
from collections.abc import AsyncGenerator, Container, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, Protocol, Self, cast

from couchmodel._wire.equality import same
from couchmodel._wire.messages import NOTHING, Request, Response, decode, document_path, encode, target
from couchmodel.engine._io.body_edits import attach, with_rev
from couchmodel.engine._io.lost_answers import UNANSWERED, find_own, may_be_stored
from couchmodel.engine._io.responses import HTTPResponse, etag, write
from couchmodel.engine._io.session import Session
from couchmodel.engine._io.uploads import Upload
from couchmodel.engine.attachment import Attachment
from couchmodel.engine.multipart import IncomingAttachment, IncomingDocument, read_documents, write_document
from couchmodel.errors import ConfigurationError, ConflictError, DocumentError, NotFoundError, ProtocolError
from couchmodel.types import BulkRow, JSONObject, WriteAnswer

__all__ = ["Document", "Place"]

_LOCAL: Final = "_local/"


class Place(Protocol):
    """Where documents are: a session and the path of a database."""

    @property
    def session(self) -> Session:
        """The line to its server."""
        ...

    @property
    def path(self) -> tuple[str, ...]:
        """Its address, as unquoted segments."""
        ...


class Texts(Protocol):
    """The JSON texts of documents that were stored together."""

    def text(self, document_id: str, /) -> bytes: ...


class Document(MutableMapping[str, Any]):
    """The members of a document, ``_id`` and ``_rev`` among them. Making one sends nothing.

    What is changed here is stored by :meth:`save`, which sends nothing where nothing has changed. As a context it is
    loaded where it exists, and saved at the end unless an exception ends it.
    """

    __slots__ = ("__weakref__", "_data", "_database", "_id", "_stored", "_unanswered")

    _database: Place
    _id: str
    _data: JSONObject
    _stored: bytes | Texts | None
    """The JSON text of what is stored, or where to find it."""
    _unanswered: tuple[bytes, ...]
    """What was sent since, without an answer; not set where nothing was."""

    def __init__(self, database: Place, id: str, data: Mapping[str, Any] | None = None) -> None:
        """``data`` is copied. Raises BadRequestError for an id that no document may have, TypeError for other data."""
        # Many are made at a time: what is certainly an id is looked at no further, and a dictionary copied by itself.
        if not (type(id) is str and id.isalnum()):
            document_path((), id)
        self._database = database
        self._id = id
        self._data = members = data.copy() if type(data) is dict else {**_members(data)}
        members["_id"] = id
        self._stored = None

    @classmethod
    def read(cls, database: Place, text: bytes, data: JSONObject) -> Self:
        """A document that was read with others: its JSON text, and the dictionary of it, which is not copied."""
        document = cls.__new__(cls)
        Document._fill(document, database, data["_id"], data, text)
        return document

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id} {self.rev or 'not stored'}>"

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "_id" and value != self._id:
            raise ConfigurationError(f"the id of {self._id!r} cannot change: copy the document instead")
        self._data[key] = value

    def __delitem__(self, key: str) -> None:
        if key == "_id":
            raise ConfigurationError(f"the id of {self._id!r} cannot be taken away")
        del self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __copy__(self) -> Self:
        return self._twin(dict(self._data))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Members of its own, at the same address: a connection is not copied."""
        return self._twin(copy.deepcopy(self._data, memo))

    async def __aenter__(self) -> Self:
        try:
            await self.fetch(discard_changes=True)
        except NotFoundError:
            return self
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.save()

    @property
    def session(self) -> Session:
        """The line to its server."""
        return self._database.session

    @property
    def path(self) -> tuple[str, ...]:
        """Its address, as unquoted segments."""
        return document_path(self._database.path, self._id)

    @property
    def endpoint(self) -> str:
        """Its address, quoted."""
        return target(self.path)

    @property
    def id(self) -> str:
        """The ``_id``."""
        return self._id

    @property
    def rev(self) -> str | None:
        """The ``_rev`` it was loaded with or stored as; None while it is not stored.

        Setting the revision that is stored now makes :meth:`save` replace it. Raises TypeError for what is no text.
        """
        return self._data.get("_rev")

    @rev.setter
    def rev(self, rev: str) -> None:
        if not isinstance(rev, str):
            raise TypeError(f"a revision is a text such as '1-967a…', not {rev!r}")
        self._data["_rev"] = rev

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
        return self.change() is not None

    async def fetch(self, discard_changes: bool = False, rev: str | None = None) -> None:
        """Load what is stored. Raises NotFoundError; ConflictError where that would lose changes made here."""
        self._check_discard(discard_changes)
        request = Request("GET", self.path, {"rev": rev} if rev else NOTHING)
        response = await self.session.send(request)
        self.load(response.body, _document(response, request))

    async def save(self, new_edits: bool = True) -> HTTPResponse | None:
        """Store it; None, and nothing is sent, where nothing has changed. Raises ConflictError.

        Where an earlier save was cancelled or its answer was lost, and was carried out all the same, it is no conflict.

        With ``new_edits=False`` it is stored as the revision that its ``_rev`` names, beside those that are there,
        which is how replication writes.
        """
        body = self.change()
        if body is None:
            return None
        query = NOTHING if new_edits else {"new_edits": "false"}
        try:
            answer = await write(self.session, Request("PUT", self.path, query, body=body))
        except UNANSWERED as error:
            if new_edits and may_be_stored(error):
                self._unanswered = (*getattr(self, "_unanswered", ()), body)
            raise
        except ConflictError as error:
            own = await find_own(self.session, self.path, getattr(self, "_unanswered", ()))
            if own is None:
                if self.rev is None:
                    error.hint = f"there is a document {self._id!r} already: fetch and change it, or take another id"
                raise
            self._note(*own)
            return await self.save() or HTTPResponse(201, NOTHING, {"ok": True, "id": self._id, "rev": own[1]})
        self.stored(body, answer["rev"])
        return answer

    async def save_with(self, attachments: Mapping[str, Upload | tuple[Any, ...]]) -> WriteAnswer:
        """Store it with these attachments, by name, in one request and one revision; those it has stay.

        Each is an :class:`~couchmodel.engine.Upload` or a tuple ``(data, content_type, length)`` of which the first is
        enough, but for an async iterator: its length has to be known beforehand. Files are streamed. Raises
        ConflictError; where no answer came, TransportError, which says what is stored; UnsupportedError of a store that
        cannot do it.
        """
        answer, stubs = await write_document(self.session, self.path, self._data, attachments)
        self._data |= {"_attachments": stubs, "_rev": answer["rev"]}
        self._stored = encode(self._data)
        return answer

    async def fetch_with(self, discard_changes: bool = False) -> AsyncGenerator[IncomingAttachment, None]:
        """Load what is stored, and its attachments with it, one after the other as they arrive.

        What is not read of one before the next is asked for is skipped. Raises what :meth:`fetch` raises; ProtocolError
        where one did not arrive as it is stored.
        """
        self._check_discard(discard_changes)
        async with aclosing(read_documents(self.session, self.path)) as documents:
            async for document in documents:
                self.load(encode(document.data), document.data)
                async for attachment in document.attachments():
                    yield attachment

    async def delete(self, discard_changes: bool = False) -> HTTPResponse:
        """Delete it. Raises NotFoundError, or ConflictError where it has been changed, here or there.

        What is left here is an empty document of the same id, which can be filled and saved.
        """
        if self.rev is None:
            raise NotFoundError(f"{self._id!r} is not stored, so it cannot be deleted")
        if not discard_changes and self.changed:
            raise ConflictError(f"{self._id!r} has unsaved changes: save it, or delete(discard_changes=True)")
        answer = await write(self.session, Request("DELETE", self.path, {"rev": self.rev}))
        self.clear_stored()
        return answer

    async def copy(self, new_id: str, rev: str | None = None) -> HTTPResponse:
        """Copy what is stored to another id. Raises NotFoundError; ConflictError where that id is taken.

        ``rev`` is the revision of a document there that the copy may replace.
        """
        query = {"rev": rev} if rev else NOTHING
        destination = target(document_path((), new_id), query).removeprefix("/")
        return await write(self.session, Request("COPY", self.path, headers={"destination": destination}))

    async def info(self) -> JSONObject:
        """``ok``, ``id`` and ``rev`` of what is stored, without its members. Raises NotFoundError."""
        if self._id.startswith(_LOCAL):  # the entity tag of a local document is not its revision
            return {"ok": True, "id": self._id, "rev": (await self.session.get(self.path))["_rev"]}
        response = await self.session.send(Request("HEAD", self.path))
        rev = etag(response.headers)
        if rev is None:
            raise ProtocolError(f"the answer has no ETag: does a proxy drop it? (HEAD {self.endpoint})")
        return {"ok": True, "id": self._id, "rev": rev}

    async def fetch_info(self) -> JSONObject:
        """:meth:`info` by its older name."""
        return await self.info()

    async def conflicts(self) -> list[str]:
        """The revisions in conflict with the one that is shown. Raises NotFoundError."""
        answer = await self.session.get(self.path, {"conflicts": "true"})
        return cast(list[str], answer.get("_conflicts", []))

    async def revs(self) -> list[str]:
        """The revisions that led to the stored one, it first. Raises NotFoundError."""
        return [each["rev"] for each in await self.revs_info()]

    async def revs_info(self) -> list[dict[str, str]]:
        """The same as dictionaries of ``rev`` and ``status``: ``available``, ``missing`` (compacted) or ``deleted``."""
        answer = await self.session.get(self.path, {"revs_info": "true"})
        return cast(list[dict[str, str]], answer["_revs_info"])

    async def open_revs(self, revs: Sequence[str] | None = None) -> dict[str, Self | None]:
        """The leaf revisions, deleted ones among them, each as a document of its own; or those of ``revs``.

        A revision that is not there is None. Raises NotFoundError where there never was such a document.
        """
        asked = "all" if revs is None else encode(list(revs)).decode()
        rows = await self.session.get(self.path, {"open_revs": asked})
        return {_revision(row): self._loaded(row["ok"]) if "ok" in row else None for row in rows}

    async def open_revs_with(self, revs: Sequence[str] | None = None) -> AsyncGenerator[IncomingDocument, None]:
        """The leaf revisions, or those of ``revs``, one after the other as they arrive, each with its attachments.

        What is not read of one before the next is asked for is skipped. Raises NotFoundError where there never was such
        a document; ProtocolError where the answer is cut off.
        """
        asked = "all" if revs is None else encode(list(revs)).decode()
        async with aclosing(read_documents(self.session, self.path, {"open_revs": asked})) as documents:
            async for document in documents:
                yield document

    def attachment(self, id: str) -> Attachment:
        """An attachment by name; nothing is sent."""
        return Attachment(self, id)

    def attached(self, rev: str, name: str, stub: JSONObject | None) -> None:
        """Take note of what an attachment's write has made of the stored document; ``stub`` is None for a deletion."""
        text = self._text()
        if text is not None:
            stored = decode(text)
            attach(stored, rev, name, stub)
            self._stored = encode(stored)
        attach(self._data, rev, name, stub)

    def change(self) -> bytes | None:
        """The JSON text that :meth:`save` sends; None where the same is stored. Raises DocumentError for no JSON."""
        if self._data.get("_id") != self._id:
            raise ConfigurationError(f"the id of {self._id!r} cannot change: copy the document instead")
        body = encode(self._data)
        stored = self._text()
        if stored is None:
            return body
        return None if body == stored or same(decode(stored), decode(body)) else body

    @staticmethod
    def unsent(documents: "Iterable[Document]") -> list[JSONObject]:
        """The members of those documents of which nothing is stored, as far as is known here."""
        # A method's call for each would cost as much as all of this.
        return [each._data for each in documents if each._stored is None and each._data.get("_id") == each._id]

    @staticmethod
    def stored_together(
        documents: "Iterable[Document]", rows: Iterable[BulkRow], texts: Texts, deleted: Container[str]
    ) -> "list[Document]":
        """Take note of the row that each document got, their texts being there when needed; those that were refused."""
        refused: list[Document] = []
        for document, row in zip(documents, rows, strict=True):
            data = document._data
            if "error" in row:
                refused.append(document)
            elif data.get("_deleted") or document._id in deleted:
                document.clear_stored()
            elif "rev" in row:
                document._stored = texts
                data["_rev"] = row["rev"]
        return refused

    def load(self, body: bytes, data: JSONObject | None = None) -> None:
        """Take over what is stored, as its JSON text, and as the dictionary of it where that is at hand."""
        self._data = decode(body) if data is None else data
        self._stored = body.rstrip()  # CouchDB ends a line, our own texts do not

    def stored(self, body: bytes, rev: str) -> None:
        """Take note that ``body``, which :meth:`change` gave, is stored as this revision."""
        if self._data.get("_deleted"):
            self.clear_stored()
            return
        self._note(body, rev)

    def clear_stored(self) -> None:
        """Take note that it is deleted."""
        self._data = {"_id": self._id}
        self._stored = None

    def _note(self, body: bytes, rev: str) -> None:
        # Of what was sent, and not of what is here by now: that may have been changed since.
        self._stored = with_rev(body, self._data.get("_rev"), rev)
        self._data["_rev"] = rev
        self._unanswered = ()

    def _text(self) -> bytes | None:
        """The JSON text of what is stored."""
        stored = self._stored
        if stored is not None and not isinstance(stored, bytes):
            self._stored = stored = stored.text(self._id)
        return stored

    def _fill(self, database: Place, id: str, data: JSONObject, stored: bytes | None) -> None:
        self._database = database
        self._id = id
        self._data = data
        self._stored = stored

    def _check_discard(self, discard_changes: bool) -> None:
        if not discard_changes and len(self._data) > 1 and self.changed:
            raise ConflictError(f"{self._id!r} has unsaved changes: save it, or fetch(discard_changes=True)")

    def _twin(self, data: JSONObject) -> Self:
        twin = self.__class__.__new__(self.__class__)
        Document._fill(twin, self._database, self._id, data, self._text())
        # A subclass may have further attributes.
        getattr(twin, "__dict__", {}).update(getattr(self, "__dict__", {}))
        return twin

    def _loaded(self, data: JSONObject) -> Self:
        document = self._twin(data)
        document.load(encode(data), data)
        return document


def _members(data: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(data, Document):
        raise TypeError("a document's data is a dictionary: give document.json for a copy without its revision")
    if data is not None and not isinstance(data, Mapping):
        raise TypeError(f"a document's data is a dictionary, not {type(data).__name__}")
    return data or {}


def _document(response: Response, request: Request) -> JSONObject:
    try:
        data = response.json()
    except DocumentError:
        raise
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise ProtocolError(
            f"the answer is no document: {response.body[:80]!r} ({request.method} {target(request.path)})"
        )
    return data


def _revision(row: JSONObject) -> str:
    return cast(str, row["ok"]["_rev"] if "ok" in row else row["missing"])
