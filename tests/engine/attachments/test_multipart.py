"""Documents with their attachments in one request and one revision."""

import gzip
import io
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from couchmodel import ConfigurationError, ConflictError, ProtocolError
from couchmodel._wire.messages import Request, Response, encode
from couchmodel._wire.multipart import AttachmentPart, MultipartRelated
from couchmodel.engine import CouchDB, Database, Document, Upload

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1000
TEXT = b"butter, flour, apples\r\n" * 1000


async def in_pieces(data: bytes = PNG) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


@pytest.mark.parametrize("form", ["bytes", "file", "path", "iterator"])
async def test_a_document_is_stored_with_its_attachments_in_one_revision(
    database: Database, form: str, tmp_path: Path
) -> None:
    (tmp_path / "pie.png").write_bytes(PNG)
    forms = {
        "bytes": Upload(PNG, "image/png"),
        "file": Upload(io.BytesIO(PNG), "image/png"),
        "path": Upload(tmp_path / "pie.png"),
        "iterator": Upload(in_pieces(), "image/png", len(PNG)),
    }
    pie = Document(database, "pie", {"title": "Apple pie"})
    answer = await pie.save_with({"pie.png": forms[form], 'ü/ "q".txt': (TEXT, "text/plain")})
    assert answer["rev"] == pie.rev
    assert not pie.changed
    again = await database.get("pie")
    assert (pie.rev or "").startswith("1-")
    assert (again.rev, again["title"]) == (pie.rev, "Apple pie")
    assert again["_attachments"]["pie.png"]["content_type"] == "image/png"
    assert await again.attachment("pie.png").fetch() == PNG
    assert await again.attachment('ü/ "q".txt').fetch() == TEXT


async def test_attachments_that_are_there_stay_or_are_replaced(database: Database) -> None:
    pie = Document(database, "pie")
    await pie.save_with({"a": (b"a", "image/png"), "b": (b"b", "text/plain")})
    await pie.save_with({"b": (b"B", "image/png"), "c": (b"", "text/plain")})
    pie["title"] = "Apple pie"
    await pie.save()
    contents = {name: await pie.attachment(name).fetch() for name in "abc"}
    assert contents == {"a": b"a", "b": b"B", "c": b""}


async def test_a_document_comes_with_its_attachments(database: Database) -> None:
    pie = Document(database, "pie", {"title": "Apple pie"})
    await pie.save_with({"pie.png": (PNG, "image/png"), "notes.txt": (TEXT, "text/plain"), "empty": (b"", "a/b")})
    again = Document(database, "pie")
    contents = {each.name: (each.content_type, each.length, await each.fetch()) async for each in again.fetch_with()}
    assert contents == {
        "pie.png": ("image/png", len(PNG), PNG),
        "notes.txt": ("text/plain", len(TEXT), TEXT),
        "empty": ("a/b", 0, b""),
    }
    assert (again["title"], again.rev, again.changed) == ("Apple pie", pie.rev, False)
    again["title"] = "Pie"
    await again.save()
    assert await again.attachment("notes.txt").fetch() == TEXT


async def test_what_is_not_read_of_an_attachment_is_skipped(database: Database) -> None:
    pie = Document(database, "pie")
    await pie.save_with(dict.fromkeys("abc", (PNG * 5, "image/png")))
    names = []
    async for attachment in pie.fetch_with():
        names.append(attachment.name)
        async for _ in attachment:
            break
    assert names == ["a", "b", "c"]


async def test_an_attachment_that_was_sent_packed_comes_unpacked(database: Database) -> None:
    pie = await database.create("pie")
    await pie.save()
    path = (*pie.path, "notes.txt")
    headers = {"content-type": "text/plain", "content-encoding": "gzip"}
    await pie.session.json(Request("PUT", path, {"rev": pie.rev or ""}, headers, gzip.compress(TEXT)))
    await pie.fetch()
    assert [await attachment.fetch() async for attachment in pie.fetch_with()] == [TEXT]
    assert await pie.attachment("notes.txt").fetch() == TEXT


async def test_a_document_without_attachments_comes_alone(database: Database) -> None:
    await (await database.create("pie", data={"title": "Apple pie"})).save()
    pie = Document(database, "pie")
    assert [attachment async for attachment in pie.fetch_with()] == []
    assert pie["title"] == "Apple pie"


async def test_conflicting_revisions_come_with_their_attachments(database: Database) -> None:
    one, other = Document(database, "pie", {"n": 1}), Document(database, "pie", {"n": 2})
    await one.save_with({"pie.png": (PNG, "image/png")})
    other.rev = "1-" + "f" * 32
    await other.save(new_edits=False)
    found = {}
    async for document in one.open_revs_with():
        found[document.data["n"]] = [await attachment.fetch() async for attachment in document.attachments()]
    assert found == {1: [PNG], 2: []}


async def test_a_revision_that_is_not_there_is_named(database: Database) -> None:
    pie = Document(database, "pie")
    await pie.save_with({"pie.png": (PNG, "image/png")})
    unknown = "9-" + "0" * 32
    found = [document.missing async for document in pie.open_revs_with([pie.rev or "", unknown])]
    assert found == [None, unknown]


async def test_another_revision_is_a_conflict_even_if_it_shows_early(database: Database) -> None:
    pie = Document(database, "pie")
    await pie.save()
    late = Document(database, "pie")
    with pytest.raises(ConflictError):
        await late.save_with({"pie.png": (in_pieces(PNG * 50), "image/png", len(PNG) * 50)})
    assert not await pie.attachment("pie.png").exists()


@pytest.mark.parametrize("length", [len(PNG) - 1, len(PNG) + 1])
async def test_a_wrong_length_stores_nothing(database: Database, length: int) -> None:
    pie = Document(database, "pie")
    with pytest.raises(ConfigurationError, match=f"{length} "):
        await pie.save_with({"pie.png": (in_pieces(), "image/png", length)})
    assert [id async for id in database.akeys()] == []
    assert pie.rev is None


async def test_a_length_has_to_be_known(database: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"length of attachment 'a'.*Upload"):
        await Document(database, "pie").save_with({"a": (in_pieces(), "image/png")})


class Answering:
    """A transport whose every answer is the same."""

    def __init__(self, content_type: str, body: bytes) -> None:
        self.content_type = content_type
        self.body = body

    async def send(self, request: Request) -> Response:
        return Response(200, {"content-type": self.content_type}, stream=self.pieces())

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(self.body), 50):
            yield self.body[start : start + 50]

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("given", [b"butter", (), (b"a", "b/c", 1, 2), None])
async def test_an_attachment_is_given_with_what_is_known_of_it(database: Database, given: object) -> None:
    with pytest.raises(ConfigurationError, match=r"'a' is given as \(data, content_type, length\)"):
        await Document(database, "pie").save_with({"a": given})  # type: ignore[dict-item]


@pytest.mark.parametrize("name", ["", ".", "..", "_x"])
async def test_a_name_never_escapes(database: Database, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be named"):
        await Document(database, "pie").save_with({name: (b"a", "a/b")})


def answer() -> Answering:
    """A document with an attachment."""
    stub = {"content_type": "text/plain", "digest": "md5-10/d4pRPR1rcSoXjSdTuew==", "length": 6, "follows": True}
    part = AttachmentPart("notes", "text/plain", 6)
    related = MultipartRelated(encode({"_id": "pie", "_rev": "1-a", "_attachments": {"notes": stub}}), [part])
    return Answering(related.content_type, related.head + related.part_head(part) + b"butter" + related.tail)


async def read(answering: Answering) -> list[bytes]:
    async with CouchDB(answering) as couch:
        return [await each.fetch() async for each in Document(couch.database("x"), "pie").fetch_with()]


@pytest.mark.parametrize(
    ("there", "here", "message"),
    [
        (b"butter", b"nutter", "'notes' did not arrive as it is stored"),
        (b"butter", b"utter", "'notes' did not arrive as it is stored"),
        (b"butter\r\n--", b"butter", "cut off"),
    ],
)
async def test_what_does_not_arrive_as_it_is_stored_is_an_error(there: bytes, here: bytes, message: str) -> None:
    answering = answer()
    assert await read(answering) == [b"butter"]
    answering.body = answering.body.replace(there, here)
    with pytest.raises(ProtocolError, match=message):
        await read(answering)


async def test_an_answer_without_a_boundary_is_an_error() -> None:
    answering = answer()
    answering.content_type = "multipart/related"
    with pytest.raises(ProtocolError, match="boundary"):
        await read(answering)
