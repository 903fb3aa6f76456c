"""Documents as mutable mappings that know their database and their id."""

import copy
from collections.abc import AsyncGenerator, Container, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, Protocol, Self, cast

from couchmodel._wire.answers import describe_request
from couchmodel._wire.equality import json_equal
from couchmodel._wire.messages import EMPTY, Request, Response, decode, document_path, encode, request_target
from couchmodel.engine._io.body_edits import apply_stub, with_rev
from couchmodel.engine._io.lost_answers import NO_ANSWER_ERRORS, find_own_write, may_be_carried_out
from couchmodel.engine._io.responses import HTTPResponse, etag, send_write
from couchmodel.engine._io.session import Session
from couchmodel.engine._io.uploads import Upload
from couchmodel.engine.attachment import Attachment
from couchmodel.engine.multipart import IncomingAttachment, IncomingDocument, read_documents, write_document
from couchmodel.errors import ConfigurationError, ConflictError, DocumentError, NotFoundError, ProtocolError
from couchmodel.types import BulkRow, JSONObject, WriteAnswer

__all__ = ["DatabaseAddress", "Document"]

_LOCAL: Final = "_local/"


class DatabaseAddress(Protocol):
    """The session and the path of a database. A document holds these, so it can be made without a database object."""

    @property
    def session(self) -> Session:
        """The session to the server."""
        ...

    @property
    def path(self) -> tuple[str, ...]:
        """The path of the database, as segments without percent-encoding."""
        ...


class StoredTexts(Protocol):
    """The JSON texts of documents that were stored together in one bulk request."""

    def text(self, document_id: str, /) -> bytes:
        """Return the JSON text of a document as it is stored."""
        ...


class Document(MutableMapping[str, Any]):
    """A document as a dictionary of its members, including ``_id`` and ``_rev``. Creating the object sends nothing.

    :meth:`save` stores the changes that were made here, and sends nothing if there are none. As an asynchronous context
    manager it loads the document if it exists, and saves it on exit unless an exception ends the block.
    """

    __slots__ = ("__weakref__", "_data", "_database", "_id", "_stored", "_unanswered")

    _database: DatabaseAddress
    _id: str
    _data: JSONObject
    _stored: bytes | StoredTexts | None
    """The JSON text of the stored revision, or an object that has it; None if no revision is known to be stored."""
    _unanswered: tuple[bytes, ...]
    """The texts that were sent since then and got no answer. Unset, so that it costs nothing, if there are none."""

    def __init__(self, database: DatabaseAddress, id: str, data: Mapping[str, Any] | None = None) -> None:
        """``data`` is copied.

        Raises BadRequestError if no document may have this id, TypeError if ``data`` is not a dictionary.
        """
        # Documents are made by the thousand, so the common cases have short cuts: plain ids, and plain dictionaries.
        if not (type(id) is str and id.isalnum()):
            document_path((), id)
        self._database = database
        self._id = id
        self._data = members = data.copy() if type(data) is dict else {**_check_data(data)}
        members["_id"] = id
        self._stored = None

    @classmethod
    def from_json(cls, database: DatabaseAddress, text: bytes, data: JSONObject) -> Self:
        """Return a document that was read from an answer: its JSON text, and the same decoded, which is not copied."""
        # ``__init__`` checks the id and copies the members, which would cost time for each row of an answer.
        document = cls.__new__(cls)
        Document._set_state(document, database, data["_id"], data, text)
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
            raise ConfigurationError(f"the id of {self._id!r} cannot be deleted")
        del self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __copy__(self) -> Self:
        return self._copy_with(dict(self._data))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the members. The copy has the same database and id: a connection is not copied."""
        return self._copy_with(copy.deepcopy(self._data, memo))

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
        """The session to the server."""
        return self._database.session

    @property
    def path(self) -> tuple[str, ...]:
        """The path of the document, as segments without percent-encoding."""
        return document_path(self._database.path, self._id)

    @property
    def endpoint(self) -> str:
        """The path of the document, percent-encoded."""
        return request_target(self.path)

    @property
    def id(self) -> str:
        """The id of the document, its member ``_id``."""
        return self._id

    @property
    def rev(self) -> str | None:
        """The revision that the document was loaded or saved as, its member ``_rev``; None if it is not stored.

        If it is set to the revision that is stored now, :meth:`save` replaces that revision. Raises TypeError if it is
        set to something other than a string.
        """
        return self._data.get("_rev")

    @rev.setter
    def rev(self, rev: str) -> None:
        if not isinstance(rev, str):
            raise TypeError(f"a revision is a string such as '1-967a…', not {rev!r}")
        self._data["_rev"] = rev

    @property
    def exists(self) -> bool:
        """True if the document was loaded or saved here and not deleted here since. Asks no server."""
        return self.rev is not None and not self._data.get("_deleted")

    @property
    def data(self) -> JSONObject | None:
        """The dictionary of the members itself, not a copy; None if the document does not exist."""
        return self._data if self.exists else None

    @property
    def json(self) -> JSONObject:
        """A copy of the members without CouchDB's own, which begin with an underscore."""
        return {key: value for key, value in self._data.items() if not key.startswith("_")}

    @property
    def changed(self) -> bool:
        """True if :meth:`save` has changes to send."""
        return self.body_to_send() is not None

    async def fetch(self, discard_changes: bool = False, rev: str | None = None) -> None:
        """Load the stored document; ``rev`` selects a revision other than the winning one.

        Raises NotFoundError if it is missing; ConflictError if unsaved changes would be lost, unless
        ``discard_changes``.
        """
        self._check_discard(discard_changes)
        request = Request("GET", self.path, {"rev": rev} if rev else EMPTY)
        response = await self.session.send(request)
        self.load_json(response.body, _decode_document(response, request))

    async def save(self, new_edits: bool = True) -> HTTPResponse | None:
        """Store the document. If nothing has changed, send nothing and return None.

        Raises ConflictError if another revision is stored by now. An earlier save that was cancelled, or whose answer
        was lost, is no conflict if the server carried it out.

        With ``new_edits=False`` the document is stored as the revision that its ``_rev`` names, beside the stored
        revisions, as replication does.
        """
        body = self.body_to_send()
        if body is None:
            return None
        query = EMPTY if new_edits else {"new_edits": "false"}
        try:
            answer = await send_write(self.session, Request("PUT", self.path, query, body=body))
        except NO_ANSWER_ERRORS as error:
            if new_edits and may_be_carried_out(error):
                self._unanswered = (*getattr(self, "_unanswered", ()), body)
            raise
        except ConflictError as error:
            # The conflict may be with a revision that an earlier save of this document made without our knowledge.
            own = await find_own_write(self.session, self.path, getattr(self, "_unanswered", ()))
            if own is None:
                if self.rev is None:
                    error.hint = f"a document {self._id!r} exists already: fetch it and change it, or use another id"
                raise
            self._note_stored(*own)
            # Changes since the lost answer are saved now. Without any, the answer is made of what is known.
            return await self.save() or HTTPResponse(201, EMPTY, {"ok": True, "id": self._id, "rev": own[1]})
        self.note_saved(body, answer["rev"])
        return answer

    async def save_with(self, attachments: Mapping[str, Upload | tuple[Any, ...]]) -> WriteAnswer:
        """Store the document together with attachments, by name, in one request and one revision.

        Other attachments of the document stay. Each attachment is an :class:`~couchmodel.engine.Upload` or a tuple
        ``(data, content_type, length)``, of which ``data`` is enough, except for an async iterator: its length has to
        be given. Files are streamed.

        Raises ConflictError; ConfigurationError if a length is not known; UnsupportedError if the store cannot do this;
        TransportError if no answer came, with a message that says what is stored.
        """
        answer, stubs = await write_document(self.session, self.path, self._data, attachments)
        self._data |= {"_attachments": stubs, "_rev": answer["rev"]}
        # The stubs are those of the new revision, so the next save finds nothing to send.
        self._stored = encode(self._data)
        return answer

    async def fetch_with(self, discard_changes: bool = False) -> AsyncGenerator[IncomingAttachment, None]:
        """Load the stored document, and yield its attachments one after the other as they arrive.

        The unread rest of an attachment is skipped when the next one is asked for. Raises the errors of :meth:`fetch`;
        ProtocolError if an attachment did not arrive as it is stored.
        """
        self._check_discard(discard_changes)
        async with aclosing(read_documents(self.session, self.path)) as documents:
            async for document in documents:
                self.load_json(encode(document.data), document.data)
                async for attachment in document.attachments():
                    yield attachment

    async def delete(self, discard_changes: bool = False) -> HTTPResponse:
        """Delete the document. This object is then an empty document of the same id, which can be filled and saved.

        Raises NotFoundError if it is not stored; ConflictError if another revision is stored by now, or if there are
        unsaved changes here and not ``discard_changes``.
        """
        if self.rev is None:
            raise NotFoundError(f"{self._id!r} is not stored, so it cannot be deleted")
        if not discard_changes and self.changed:
            raise ConflictError(f"{self._id!r} has unsaved changes: save it, or delete(discard_changes=True)")
        answer = await send_write(self.session, Request("DELETE", self.path, {"rev": self.rev}))
        self.note_deleted()
        return answer

    async def copy(self, new_id: str, rev: str | None = None) -> HTTPResponse:
        """Copy the stored document to another id. Unsaved changes are not copied.

        ``rev`` is the revision of the document at ``new_id`` that the copy replaces. Raises NotFoundError;
        ConflictError if ``new_id`` is taken and ``rev`` is not its revision.
        """
        query = {"rev": rev} if rev else EMPTY
        # COPY takes the id as a relative URL, with the revision in its query.
        destination = request_target(document_path((), new_id), query).removeprefix("/")
        return await send_write(self.session, Request("COPY", self.path, headers={"destination": destination}))

    async def info(self) -> JSONObject:
        """Return ``ok``, ``id`` and ``rev`` of the stored document without loading it. Raises NotFoundError."""
        if self._id.startswith(_LOCAL):  # the entity tag of a local document is not its revision
            return {"ok": True, "id": self._id, "rev": (await self.session.get(self.path))["_rev"]}
        response = await self.session.send(Request("HEAD", self.path))
        # The ETag of a document is its revision.
        rev = etag(response.headers)
        if rev is None:
            raise ProtocolError(f"the answer has no ETag: does a proxy remove it? (HEAD {self.endpoint})")
        return {"ok": True, "id": self._id, "rev": rev}

    async def fetch_info(self) -> JSONObject:
        """Return what :meth:`info` returns; aiocouch's older name."""
        return await self.info()

    async def conflicts(self) -> list[str]:
        """Return the revisions in conflict with the winning revision. Raises NotFoundError."""
        answer = await self.session.get(self.path, {"conflicts": "true"})
        return cast(list[str], answer.get("_conflicts", []))

    async def revs(self) -> list[str]:
        """Return the stored revision and its ancestors, newest first. Raises NotFoundError."""
        return [each["rev"] for each in await self.revs_info()]

    async def revs_info(self) -> list[dict[str, str]]:
        """Return :meth:`revs` as dictionaries of ``rev`` and ``status``.

        The status is ``available``, ``missing`` (the body was compacted away) or ``deleted``.
        """
        answer = await self.session.get(self.path, {"revs_info": "true"})
        return cast(list[dict[str, str]], answer["_revs_info"])

    async def open_revs(self, revs: Sequence[str] | None = None) -> dict[str, Self | None]:
        """Load all leaf revisions, including deleted ones, or the revisions ``revs``, each as a document of its own.

        A revision that is missing is None. Raises NotFoundError if no such document ever existed.
        """
        asked = "all" if revs is None else encode(list(revs)).decode()
        rows = await self.session.get(self.path, {"open_revs": asked})
        return {_row_rev(row): self._leaf_document(row["ok"]) if "ok" in row else None for row in rows}

    async def open_revs_with(self, revs: Sequence[str] | None = None) -> AsyncGenerator[IncomingDocument, None]:
        """Yield the leaf revisions, or the revisions ``revs``, as they arrive, each with its attachments.

        The unread rest of a revision is skipped when the next one is asked for. Raises NotFoundError if no such
        document ever existed; ProtocolError if the answer is cut off.
        """
        asked = "all" if revs is None else encode(list(revs)).decode()
        async with aclosing(read_documents(self.session, self.path, {"open_revs": asked})) as documents:
            async for document in documents:
                yield document

    def attachment(self, id: str) -> Attachment:
        """Return the attachment of this name. Sends nothing."""
        return Attachment(self, id)

    def note_attachment(self, rev: str, name: str, stub: JSONObject | None) -> None:
        """Record that an attachment was written as revision ``rev``; ``stub`` is None if it was deleted."""
        text = self._stored_text()
        if text is not None:
            stored = decode(text)
            apply_stub(stored, rev, name, stub)
            self._stored = encode(stored)
        apply_stub(self._data, rev, name, stub)

    def body_to_send(self) -> bytes | None:
        """Return the JSON text that :meth:`save` sends, or None if the same is stored.

        Raises DocumentError if a member cannot be written as JSON.
        """
        if self._data.get("_id") != self._id:
            raise ConfigurationError(f"the id of {self._id!r} cannot change: copy the document instead")
        body = encode(self._data)
        stored = self._stored_text()
        if stored is None:
            return body
        # Equal texts are the common case and need no decoding. Texts that differ may still be equal as JSON values.
        return None if body == stored or json_equal(decode(stored), decode(body)) else body

    @staticmethod
    def new_members(documents: "Iterable[Document]") -> list[JSONObject]:
        """Return the members of those documents that are not stored, as far as is known here."""
        # One method call for each document would cost as much as this whole function.
        return [each._data for each in documents if each._stored is None and each._data.get("_id") == each._id]

    @staticmethod
    def note_bulk_rows(
        documents: "Iterable[Document]", rows: Iterable[BulkRow], texts: StoredTexts, deleted: Container[str]
    ) -> "list[Document]":
        """Record CouchDB's row for each document of a bulk request, and return the documents that were refused.

        ``texts`` has the JSON texts that were sent, and is asked for one only when it is needed.
        """
        refused: list[Document] = []
        for document, row in zip(documents, rows, strict=True):
            data = document._data
            if "error" in row:
                refused.append(document)
            elif data.get("_deleted") or document._id in deleted:
                document.note_deleted()
            elif "rev" in row:
                document._stored = texts
                data["_rev"] = row["rev"]
        return refused

    def load_json(self, body: bytes, data: JSONObject | None = None) -> None:
        """Replace the members with the stored ones, given as a JSON text and, if the caller has it, decoded."""
        self._data = decode(body) if data is None else data
        self._stored = body.rstrip()  # CouchDB's texts end with a newline, our own do not

    def note_saved(self, body: bytes, rev: str) -> None:
        """Record that ``body``, a result of :meth:`body_to_send`, is stored as this revision."""
        if self._data.get("_deleted"):
            self.note_deleted()
            return
        self._note_stored(body, rev)

    def note_deleted(self) -> None:
        """Record that the document is deleted."""
        self._data = {"_id": self._id}
        self._stored = None

    def _note_stored(self, body: bytes, rev: str) -> None:
        # The text that was sent, not the members as they are now: they may have been changed since.
        self._stored = with_rev(body, self._data.get("_rev"), rev)
        self._data["_rev"] = rev
        self._unanswered = ()

    def _stored_text(self) -> bytes | None:
        """Return the JSON text of the stored revision; None if none is known."""
        stored = self._stored
        if stored is not None and not isinstance(stored, bytes):
            self._stored = stored = stored.text(self._id)
        return stored

    def _set_state(self, database: DatabaseAddress, id: str, data: JSONObject, stored: bytes | None) -> None:
        self._database = database
        self._id = id
        self._data = data
        self._stored = stored

    def _check_discard(self, discard_changes: bool) -> None:
        # An object that was only created has its id alone, and nothing to lose.
        if not discard_changes and len(self._data) > 1 and self.changed:
            raise ConflictError(f"{self._id!r} has unsaved changes: save it, or fetch(discard_changes=True)")

    def _copy_with(self, data: JSONObject) -> Self:
        twin = self.__class__.__new__(self.__class__)
        Document._set_state(twin, self._database, self._id, data, self._stored_text())
        # A subclass may have further attributes.
        getattr(twin, "__dict__", {}).update(getattr(self, "__dict__", {}))
        return twin

    def _leaf_document(self, data: JSONObject) -> Self:
        document = self._copy_with(data)
        document.load_json(encode(data), data)
        return document


def _check_data(data: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(data, Document):
        raise TypeError("a document's data is a dictionary: give document.json for a copy without its revision")
    if data is not None and not isinstance(data, Mapping):
        raise TypeError(f"a document's data is a dictionary, not {type(data).__name__}")
    return data or {}


def _decode_document(response: Response, request: Request) -> JSONObject:
    try:
        data = response.json()
    except DocumentError:
        raise
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise ProtocolError(f"the answer is not a document: {response.body[:80]!r} ({describe_request(request)})")
    return data


def _row_rev(row: JSONObject) -> str:
    return cast(str, row["ok"]["_rev"] if "ok" in row else row["missing"])
