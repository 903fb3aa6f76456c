"""The requests of a bucket for its documents: files and parts are read, stored and deleted here."""

import secrets
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Final, cast

from couchmodel._wire.contents import digest_of
from couchmodel._wire.messages import JSON_TYPE, Request, document_path, encode
from couchmodel._wire.multipart import AttachmentPart, MultipartRelated
from couchmodel.bucket.layout import (
    CLAIM_MEMBER,
    CONTENT,
    CONTENT_MEMBER,
    CONTENT_TYPE,
    FILE_MEMBER,
    PART_MEMBER,
    Layout,
    StoredFile,
)
from couchmodel.bucket.times import now, utc_text
from couchmodel.engine import Database, Document
from couchmodel.engine.bulk import write_documents
from couchmodel.engine.find import find_rows
from couchmodel.errors import (
    BucketError,
    ConflictError,
    CorruptGridFile,
    FileExists,
    ForbiddenError,
    NoFile,
    NotFoundError,
    TransportError,
    UnauthorizedError,
)
from couchmodel.types import JSONObject, ViewRow

__all__ = ["PROCESS", "Claim", "Storage"]

PROCESS: Final = secrets.token_hex(8)
"""The name of this process in the parts that it stores."""

_ATTEMPTS: Final = 3
"""How often a part is sent at most, if no answer comes."""

_DELETED_AT_ONCE: Final = 500
_INDEX: Final[JSONObject] = {"fields": [f"{FILE_MEMBER}.filename", f"{FILE_MEMBER}.uploadDate"]}
_HEADERS: Final = {"accept": "*/*", "accept-encoding": "identity"}


class Storage:
    """The documents of one bucket in a database."""

    def __init__(self, database: Database, bucket_name: str) -> None:
        self.database = database
        self.session = database.session
        self.name = bucket_name
        self.layout = Layout(bucket_name)
        self._is_indexed = False

    # --- files

    async def load(self, file_id: str) -> StoredFile:
        """Return the file of an id. Raises NoFile."""
        return StoredFile(dict((await self._load_document(file_id)).items()))

    async def find(self, selector: JSONObject, skip: int = 0, limit: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the documents of the files that a selector matches, as JSON texts."""
        # An empty selector within `$and` would match nothing.
        scope = self._scope()
        body: JSONObject = {"selector": {"$and": [scope, selector]} if selector else scope, "skip": skip}
        async with aclosing(find_rows(self.session, self.database.path, body, limit)) as batches:
            async for batch in batches:
                for row in batch:
                    yield row

    async def create(self, file_id: str, document: JSONObject, content: bytes | bytearray, digest: str) -> str:
        """Store the document of a new file, with its content if that is in the document, and return its revision.

        Raises FileExists if there is a file of this id.
        """
        await self._ensure_index()
        path = self._path(self.layout.files + file_id)
        for attempt in range(_ATTEMPTS):
            try:
                return await self._put(path, document, content, digest)
            except ConflictError:
                # The answer to an attempt before this one may have been lost.
                if (rev := await self._own_file(file_id, document)) is not None:
                    return rev
                raise await self._taken_error(file_id) from None
            except TransportError:
                # No answer came, but the file may be stored.
                if (rev := await self._own_file(file_id, document)) is not None:
                    return rev
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError

    async def change(self, file_id: str, changes: JSONObject) -> StoredFile:
        """Set members of a stored file, and return it. Raises NoFile."""
        while True:
            document = await self._load_document(file_id)
            document[FILE_MEMBER] = {**document[FILE_MEMBER], **changes}
            try:
                await document.save()
            except ConflictError:
                continue  # another change was first
            return StoredFile(dict(document.items()))

    async def delete(self, file_id: str, upload: str | None = None) -> None:
        """Delete a file and then its parts. With ``upload``, delete it only if that upload has stored it.

        Raises NoFile.
        """
        while True:
            stored = await self.load(file_id)
            if upload is not None and stored.upload != upload:
                raise NoFile(f"the bucket {self.name!r} has no file {file_id!r} of the upload {upload}")
            try:
                query = {"rev": stored.document["_rev"]}
                await self.session.send(Request("DELETE", self._path(self.layout.files + file_id), query))
            except ConflictError:
                continue
            except NotFoundError:
                raise NoFile(f"the file {file_id!r} was deleted by another program") from None
            break
        # The document goes first: from then on nobody finds the file, and a sweep takes the parts that are left.
        if stored.part_count:
            await self.delete_parts(file_id, stored.upload)

    async def _own_file(self, file_id: str, document: JSONObject) -> str | None:
        """Return the revision of the stored file if the same upload has stored it with the same content."""
        stored = await self._find_document(file_id)
        return None if stored is None or stored.get(CONTENT_MEMBER) != document[CONTENT_MEMBER] else stored.rev

    async def _taken_error(self, file_id: str) -> BucketError:
        document = await self._find_document(file_id)
        if document is not None and CLAIM_MEMBER in document:
            return CorruptGridFile(f"parts of the file {file_id!r} are being removed by a sweep: upload it again")
        return FileExists(f"the bucket {self.name!r} has a file {file_id!r} already")

    async def _load_document(self, file_id: str) -> Document:
        document = await self._find_document(file_id)
        if document is None or FILE_MEMBER not in document:
            raise NoFile(f"the bucket {self.name!r} has no file {file_id!r}")
        return document

    async def _find_document(self, file_id: str) -> Document | None:
        try:
            return await self.database.get(self.layout.files + file_id)
        except NotFoundError as error:
            if error.reason in ("missing", "deleted"):
                return None
            raise

    # --- parts

    async def write_part(
        self, file_id: str, upload: str, number: int, data: bytes | bytearray, digest: str, process: str
    ) -> None:
        """Store a part. It is sent again if no answer came and it is not stored.

        ``process`` is the process that alone works on the upload; empty if another one may resume it.
        """
        path = self._path(self.layout.part(file_id, upload, number))
        document: JSONObject = {PART_MEMBER: {"process": process, "stored_at": utc_text(now())}}
        for attempt in range(_ATTEMPTS):
            try:
                await self._put(path, document, data, digest)
            except (TransportError, ConflictError):
                # A part of this name with this content is this part, also if another upload has stored it.
                if await self._part_digest(path) == digest:
                    return
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    async def part_digests(self, file_id: str, upload: str) -> dict[int, str]:
        """Return the digests of the stored parts of an upload, by their numbers."""
        rows = self._part_rows(file_id, upload, include_docs=True)
        documents = {_part_number(row): row.get("doc") or {} async for row in rows}
        return {number: document["_attachments"][CONTENT]["digest"] for number, document in documents.items()}

    async def part_numbers(self, file_id: str, upload: str) -> list[int]:
        """Return the numbers of the stored parts of an upload, in their order."""
        return [_part_number(row) async for row in self._part_rows(file_id, upload)]

    async def delete_parts(self, file_id: str, upload: str, numbers: Collection[int] | None = None) -> int:
        """Delete the parts of an upload, or those of these numbers, and return how many there were."""
        count = 0
        pending: list[bytes] = []
        async for row in self._part_rows(file_id, upload):
            if numbers is None or _part_number(row) in numbers:
                rev = cast(dict[str, str], row.get("value"))["rev"]
                pending.append(encode({"_id": _document_id(row), "_rev": rev, "_deleted": True}))
                count += 1
            if len(pending) == _DELETED_AT_ONCE:
                await write_documents(self.session, self.database.path, pending)
                pending.clear()
        if pending:
            await write_documents(self.session, self.database.path, pending)
        return count

    async def has_part(self, file_id: str, upload: str, number: int) -> bool:
        """Return True if a part is stored and not empty."""
        path = (*self._path(self.layout.part(file_id, upload, number)), CONTENT)
        try:
            response = await self.session.send(Request("HEAD", path, headers=_HEADERS))
        except NotFoundError:
            return False
        return response.headers.get("content-length") != "0"

    def content_path(self, file: StoredFile, number: int) -> tuple[str, ...]:
        """Return the path of the attachment that has a part of a file."""
        if not file.part_count:
            return (*self._path(self.layout.files + file.id), CONTENT)
        return (*self._path(self.layout.part(file.id, file.upload, number)), CONTENT)

    async def _part_digest(self, path: tuple[str, ...]) -> str | None:
        try:
            return digest_of((await self.session.send(Request("HEAD", (*path, CONTENT), headers=_HEADERS))).headers)
        except NotFoundError:
            return None

    def _part_rows(self, file_id: str, upload: str, *, include_docs: bool = False) -> AsyncGenerator[ViewRow, None]:
        start = self.layout.upload(file_id, upload)
        # The ids end with a slash, and "0" follows "/" in ASCII, so the range has all that begin so.
        return self.database.all_docs.rows(startkey=start, endkey=f"{start[:-1]}0", include_docs=include_docs)

    # --- sweeps

    async def part_ids(self) -> AsyncGenerator[str, None]:
        """Yield the ids of the documents of all parts, in their order."""
        start = self.layout.parts
        async for row in self.database.all_docs.rows(startkey=start, endkey=f"{start[:-1]}0"):
            yield _document_id(row)

    async def part_info(self, id: str) -> JSONObject | None:
        """Return who has stored a part, and when; None if it is gone."""
        try:
            return cast(JSONObject, (await self.database.get(id))[PART_MEMBER])
        except NotFoundError:
            return None

    async def uploads_of(self, file_ids: Collection[str]) -> set[str]:
        """Return the names of the uploads that have stored these files, as far as the files exist."""
        rows = self.database.all_docs.rows([self.layout.files + each for each in file_ids], include_docs=True)
        documents = [row.get("doc") async for row in rows] if file_ids else []
        return {each[CONTENT_MEMBER]["upload"] for each in documents if each and CONTENT_MEMBER in each}

    async def claim(self, file_id: str, upload: str) -> "Claim | None":
        """Take the id of a file, so that this upload cannot be completed.

        Return None if the upload has been completed, or if another sweep has taken the id.
        """
        document = Document(self.database, self.layout.files + file_id, {CLAIM_MEMBER: utc_text(now())})
        try:
            await document.save()
        except ConflictError:
            found = await self._find_document(file_id)
            is_of_other = found is not None and found.get(CONTENT_MEMBER, {}).get("upload", upload) != upload
            # A file of another upload has the id, so this one cannot be completed.
            return Claim(None) if is_of_other else None
        return Claim(document)

    async def release_claims(self, before: datetime) -> None:
        """Delete the claims of sweeps that were killed."""
        start = self.layout.files
        selector = {"_id": {"$gte": start, "$lt": f"{start[:-1]}0"}, CLAIM_MEMBER: {"$lt": utc_text(before)}}
        async for document in self.database.find(selector):
            await Claim(document).release()

    # --- requests

    async def _put(self, path: tuple[str, ...], document: JSONObject, content: bytes | bytearray, digest: str) -> str:
        """Store a document with a content, and return its revision. CouchDB compares the content with the digest."""
        if not content:
            answer = await self.session.json(Request("PUT", path, body=encode(document)))
            return str(answer["rev"])
        part = AttachmentPart(CONTENT, CONTENT_TYPE, len(content))
        stub = {"content_type": CONTENT_TYPE, "length": len(content), "digest": digest, "follows": True}
        related = MultipartRelated(encode({**document, "_attachments": {CONTENT: stub}}), [part])
        # A part has 2 MiB at most, so the request is one piece of memory, and can be sent again.
        body = b"".join((related.head, related.part_head(part), content, related.tail))
        headers = {"accept": JSON_TYPE, "content-type": related.content_type}
        return str((await self.session.json(Request("PUT", path, headers=headers, body=body)))["rev"])

    async def _ensure_index(self) -> None:
        """Create the index of files by name, once for each object. Files are found without it, too, but slowly."""
        if self._is_indexed:
            return
        # This is set also if the index fails: a bucket works without it, and need not ask again for each file.
        self._is_indexed = True
        try:
            # In a partitioned database, an index over all partitions has to say that it is one.
            await self.database.index(_INDEX, ddoc="couchmodel-bucket", name="files-by-name", partitioned=False)
        except (UnauthorizedError, ForbiddenError):
            return  # the user may not create indexes

    def _scope(self) -> JSONObject:
        """Return the selector of all files of the bucket. It names all columns of the index, so CouchDB may use it."""
        start = self.layout.files
        return {"_id": {"$gte": start, "$lt": f"{start[:-1]}0"}, f"{FILE_MEMBER}.uploadDate": {"$gt": None}}

    def _path(self, document_id: str) -> tuple[str, ...]:
        return document_path(self.database.path, document_id)


class Claim:
    """The id of a file, taken by a sweep."""

    def __init__(self, document: Document | None) -> None:
        self._document = document

    async def release(self) -> None:
        """Give the id free again."""
        if self._document is not None:
            # Another sweep may have released the claim, or a file may have taken its place.
            with suppress(NotFoundError, ConflictError):
                await self._document.delete(discard_changes=True)


def _part_number(row: ViewRow) -> int:
    return int(_document_id(row).rpartition("/")[2])


def _document_id(row: ViewRow) -> str:
    return row.get("id", "")
