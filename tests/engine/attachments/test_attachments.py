"""Attachments of the engine: streamed, cut, conditional, and checked."""

import asyncio
import io
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from couchmodel import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    ProtocolError,
    ResponseError,
    TransportError,
)
from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Attachment, CouchDB, Database, Document
from couchmodel.engine._io import resuming
from couchmodel.errors import RangeNotSatisfiableError
from couchmodel.types import JSONObject
from tests.engine.requests import call

LARGE = bytes(range(256)) * 12_000
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1000
TEXT = b"butter, flour, apples\n" * 10_000
KINDS = pytest.mark.parametrize(("data", "kind"), [(PNG, "image/png"), (TEXT, "text/plain")], ids=["plain", "packed"])


@pytest.fixture
async def pie(database: Database) -> Document:
    """A stored document."""
    pie = await database.create("pie", data={"title": "Apple pie"})
    await pie.save()
    return pie


async def in_pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@KINDS
@pytest.mark.parametrize("form", ["bytes", "bytearray", "memoryview", "file", "path", "iterator", "known length"])
async def test_what_is_saved_is_fetched(pie: Document, data: bytes, kind: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    attachment = pie.attachment("a/ü x")
    match form:
        case "bytes":
            await attachment.save(data, kind)
        case "bytearray":
            await attachment.save(bytearray(data), kind)
        case "memoryview":
            await attachment.save(memoryview(data), kind)
        case "file":
            await attachment.save(io.BytesIO(data), kind)
        case "path":
            await attachment.save(tmp_path / "x", kind)
        case "iterator":
            await attachment.save(in_pieces(data), kind)
        case _:
            await attachment.save(in_pieces(data), kind, len(data))
    assert (attachment.content_type, attachment.length) == (kind, len(data))
    again = pie.attachment("a/ü x")
    assert await again.fetch() == data
    assert (again.content_type, again.length) == (kind, len(data))


@KINDS
async def test_length_and_digest_are_known_without_the_content(pie: Document, data: bytes, kind: str) -> None:
    attachment = pie.attachment("x")
    assert (await attachment.exists(), attachment.length, attachment.digest) == (False, None, None)
    await attachment.save(data, kind)
    again = pie.attachment("x")
    assert await again.exists()
    await pie.fetch()
    stub = pie["_attachments"]["x"]
    assert (again.content_type, again.length, again.digest) == (kind, stub["length"], stub["digest"])


@KINDS
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1000, 1001), (100_000, None), (5, 100_000), (219_000, 10**9)])
async def test_a_range_is_what_a_slice_is(pie: Document, data: bytes, kind: str, start: int, stop: int | None) -> None:
    attachment = pie.attachment("x")
    await attachment.save(data, kind)
    assert await attachment.fetch(start, stop) == data[start:stop]
    assert b"".join([piece async for piece in attachment.stream(start, stop)]) == data[start:stop]


@KINDS
async def test_a_range_behind_the_end_is_none(pie: Document, data: bytes, kind: str) -> None:
    attachment = pie.attachment("x")
    await attachment.save(data, kind)
    for start in (len(data), 10**9):
        with pytest.raises(RangeNotSatisfiableError):
            await attachment.fetch(start)


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (5, 5), (5, 2)])
async def test_a_range_that_is_none_is_refused(pie: Document, start: int, stop: int | None) -> None:
    with pytest.raises(ConfigurationError, match="0 <= start < stop"):
        await pie.attachment("x").fetch(start, stop)


@KINDS
async def test_what_has_not_changed_is_not_fetched_again(pie: Document, data: bytes, kind: str) -> None:
    attachment = pie.attachment("x")
    await attachment.save(data, kind)
    assert await attachment.fetch_if_changed() == data
    assert await attachment.fetch_if_changed() is None
    assert await pie.attachment("x").fetch_if_changed(attachment.digest) is None
    await attachment.save(data + b"!", kind)
    assert await attachment.fetch_if_changed() == data + b"!"


async def test_an_attachment_may_be_empty(pie: Document) -> None:
    attachment = pie.attachment("x")
    await attachment.save(in_pieces(b""), "text/plain")
    assert (await attachment.fetch(), attachment.length) == (b"", 0)


async def test_an_attachment_that_calls_itself_json_is_not_read_as_json(pie: Document) -> None:
    attachment = pie.attachment("x")
    await attachment.save(b'{"cut', "application/json")
    assert await attachment.fetch() == b'{"cut'


async def test_many_bytes_are_sent_in_pieces(pie: Document) -> None:
    attachment = pie.attachment("x")
    await attachment.save(LARGE, "image/png")
    assert await attachment.fetch() == LARGE


async def test_a_media_type_is_guessed_from_the_name(pie: Document, tmp_path: Path) -> None:
    (tmp_path / "pie.png").write_bytes(PNG)
    with (tmp_path / "pie.png").open("rb") as file:
        await pie.attachment("file").save(file)
    await pie.attachment("path").save(tmp_path / "pie.png")
    await pie.attachment("bytes").save(PNG)
    await pie.fetch()
    kinds = {name: stub["content_type"] for name, stub in pie["_attachments"].items()}
    assert kinds == {"file": "image/png", "path": "image/png", "bytes": "application/octet-stream"}


async def test_a_stream_may_be_left_early(pie: Document) -> None:
    attachment = pie.attachment("x")
    await attachment.save(PNG * 10, "image/png")
    async for piece in attachment.stream():
        assert PNG.startswith(piece[:100])
        break
    assert await attachment.fetch(0, 4) == PNG[:4]


async def test_a_deleted_attachment_is_unknown(pie: Document) -> None:
    attachment = pie.attachment("x")
    await attachment.save(PNG, "image/png")
    await attachment.delete()
    assert (attachment.content_type, attachment.length, attachment.digest) == (None, None, None)
    with pytest.raises(NotFoundError):
        await attachment.fetch()
    assert "_attachments" not in pie


@pytest.mark.parametrize("length", [0, len(PNG) - 1, len(PNG) + 1])
async def test_a_wrong_length_stores_nothing(pie: Document, length: int) -> None:
    attachment = pie.attachment("x")
    with pytest.raises(ConfigurationError, match=f"{length} "):
        await attachment.save(in_pieces(PNG), "image/png", length)
    with pytest.raises(ConfigurationError, match=f"not {length} "):
        await attachment.save(PNG, "image/png", length)
    assert not await attachment.exists()
    await attachment.save(PNG, "image/png")


@pytest.mark.parametrize("data", ["text", io.StringIO("text"), 5, None])
async def test_what_is_no_content_is_refused(pie: Document, data: object) -> None:
    with pytest.raises(ConfigurationError, match="bytes"):
        await pie.attachment("x").save(data, "text/plain")  # type: ignore[arg-type]
    assert not await pie.attachment("x").exists()


async def test_a_source_that_fails_stores_nothing_and_its_error_comes_back(pie: Document) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield PNG
        raise OSError("the disk is gone")

    attachment = pie.attachment("x")
    with pytest.raises(OSError, match="the disk is gone"):
        await attachment.save(failing(), "image/png")
    assert not await attachment.exists()
    await attachment.save(PNG, "image/png")


async def test_a_conflict_is_told_even_if_it_shows_before_all_is_sent(pie: Document, database: Database) -> None:
    other = await database.get("pie")
    other["title"] = "Pie"
    await other.save()
    with pytest.raises(ConflictError):
        await pie.attachment("x").save(in_pieces(PNG * 50, 65_536), "image/png")


async def test_an_attachment_needs_a_stored_document(database: Database) -> None:
    attachment = Document(database, "pie").attachment("x")
    with pytest.raises(ConfigurationError, match="save the document before"):
        await attachment.save(PNG, "image/png")
    with pytest.raises(ConfigurationError, match="not stored"):
        await attachment.delete()


# --- what does not arrive as it was sent


class Answering:
    """A transport that answers each method the same."""

    def __init__(self, **answers: tuple[int, dict[str, str], bytes]) -> None:
        self.answers = answers

    async def send(self, request: Request) -> Response:
        await request.read()
        return Response(*self.answers[request.method])

    async def close(self) -> None:
        """Nothing to close."""


def attachment(**answers: tuple[int, dict[str, str], bytes]) -> Attachment:
    couch = CouchDB(Answering(**answers))
    return Document(couch.database("db"), "pie", {"_rev": "1-a"}).attachment("notes")


ETAG = {"etag": '"10/d4pRPR1rcSoXjSdTuew=="', "accept-ranges": "bytes"}


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, ETAG, b"nutter"),
        (200, {"content-length": "7"}, b"butter"),
        (200, {"content-encoding": "gzip"}, b"butter"),
        (200, {"content-encoding": "br"}, b"butter"),
        (206, {"content-range": "bytes 0-5/6"}, b"butter"),
        (206, {"content-range": "bytes 1-5/6"}, b"utt"),
        (206, {"content-range": "butter"}, b"utter"),
        (206, {}, b"utter"),
    ],
)
async def test_what_does_not_arrive_as_it_is_stored_is_an_error(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    notes = attachment(GET=(status, headers, body))
    with pytest.raises(ProtocolError, match=r"'notes' of db/pie did not arrive as it is stored"):
        await notes.fetch(1 if status == 206 else 0)


async def test_what_arrives_as_it_is_stored_is_fine() -> None:
    assert await attachment(GET=(200, ETAG | {"content-length": "6"}, b"butter")).fetch() == b"butter"
    assert await attachment(GET=(206, {"content-range": "bytes 1-5/6"}, b"utter")).fetch(1) == b"utter"


@pytest.mark.parametrize("head", [{"content-length": "5", "accept-ranges": "none"}, ETAG])
async def test_a_stream_that_is_stored_otherwise_than_sent_is_an_error(head: dict[str, str]) -> None:
    notes = attachment(PUT=(201, {}, b'{"ok":true,"id":"pie","rev":"2-b"}'), HEAD=(200, head, b""))
    with pytest.raises(ProtocolError, match=r"'notes' was stored in revision 2-b, but not as it was sent"):
        await notes.save(in_pieces(b"nutter"), "text/plain")


# --- a connection that breaks


@pytest.fixture
async def cutting(url: str, backend: str) -> AsyncIterator[Callable[[int, int], str]]:
    """The URL of a proxy that cuts a connection after so many bytes to the server, or from it."""
    if not url.startswith("http"):
        pytest.skip(f"there is no connection to {backend}")
    parts = urlsplit(url)
    limits = [0, 0]
    connections: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        left = limit
        while left > 0 and (data := await reader.read(min(left, 65_536))):
            writer.write(data)
            await writer.drain()
            left -= len(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        pumps = [
            asyncio.create_task(pump(reader, back, limits[0])),
            asyncio.create_task(pump(there, writer, limits[1])),
        ]
        with suppress(OSError):
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in (writer, back):
            end.transport.abort()
            with suppress(OSError):
                await end.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()

    def limited(up: int, down: int) -> str:
        limits[:] = up, down
        return url.replace(f"{parts.hostname}:{parts.port}", f"{host}:{port}")

    yield limited
    server.close()
    await asyncio.wait_for(asyncio.gather(*connections), 30)


@pytest.mark.parametrize("length", [None, len(PNG) * 100])
async def test_an_upload_that_is_cut_leaves_the_document_unchanged_and_says_so(
    pie: Document, database: Database, cutting: Callable[[int, int], str], length: int | None
) -> None:
    before: JSONObject = dict(pie)
    async with CouchDB(cutting(300_000, 10**9)) as couch:
        there = Document(couch.database(database.id), "pie", before)
        with pytest.raises(TransportError, match="the document is unchanged") as caught:
            await there.attachment("x").save(in_pieces(PNG * 100, 65_536), "image/png", length)
    assert caught.value.carried_out is False
    await pie.fetch()
    assert dict(pie) == before


async def test_an_upload_whose_answer_is_lost_says_how_to_find_out(
    pie: Document, database: Database, cutting: Callable[[int, int], str]
) -> None:
    async with CouchDB(cutting(10**9, 0)) as couch:
        there = Document(couch.database(database.id), "pie", dict(pie))
        with pytest.raises(TransportError, match=f"as a whole, or not at all if the document is still {pie.rev}"):
            await there.attachment("x").save(b"butter", "text/plain")


async def test_a_download_that_is_cut_is_an_error(
    pie: Document, database: Database, cutting: Callable[[int, int], str]
) -> None:
    await pie.attachment("x").save(PNG * 4, "image/png")
    async with CouchDB(cutting(10**9, 300_000)) as couch:
        with pytest.raises(ProtocolError, match=r"GET /.*/pie/x"):
            await Document(couch.database(database.id), "pie").attachment("x").fetch()


async def test_the_attachments_of_a_tombstone_are_not_taken_up_again(database: Database) -> None:
    content = {"f": {"data": "aGVsbG8=", "content_type": "text/plain"}}
    first = (await call(database, "PUT", "a", {"_attachments": content}))["rev"]
    stub = {"f": {"stub": True, "content_type": "text/plain", "revpos": 1}}
    last = (await call(database, "PUT", "a", {"_rev": first, "_deleted": True, "_attachments": stub}))["rev"]
    for named in ({"_rev": last}, {"_rev": last, "_deleted": True}, {}):  # CouchDB fails with 500 for the last one
        with pytest.raises(ResponseError):
            await call(database, "PUT", "a", {**named, "_attachments": stub})
    assert (await call(database, "GET", "_changes"))["results"][0]["changes"] == [{"rev": last}]
    new = await call(database, "PUT", "a", {"_attachments": content})
    assert new["rev"].startswith("3-")


@pytest.mark.parametrize(
    ("kind", "start", "stop"),
    [("image/png", 0, None), ("image/png", 1000, 900_000), ("text/plain", 0, None)],
    ids=["plain", "range", "packed"],
)
async def test_a_download_that_is_cut_goes_on_where_it_broke_off(
    pie: Document, database: Database, cutting: Callable[[int, int], str], kind: str, start: int, stop: int | None
) -> None:
    content = random.Random(1).randbytes(1_000_000 if kind == "image/png" else 310_000)
    await pie.attachment("x").save(content, kind)
    async with CouchDB(cutting(10**9, 300_000)) as couch:
        stream = Document(couch.database(database.id), "pie").attachment("x").stream(start, stop, resume=True)
        pieces = [await anext(stream)]
        if kind == "text/plain":  # CouchDB sends what it has packed from the beginning again
            cutting(10**9, 10**9)
        pieces += [piece async for piece in stream]
    assert b"".join(pieces) == content[start:stop]


async def test_a_download_does_not_go_on_with_another_content(
    pie: Document, database: Database, cutting: Callable[[int, int], str]
) -> None:
    await pie.attachment("x").save(PNG * 4, "image/png")
    async with CouchDB(cutting(10**9, 300_000)) as couch:
        pieces = Document(couch.database(database.id), "pie").attachment("x").stream(resume=True)
        await anext(pieces)
        await pie.attachment("x").save(PNG * 5, "image/png")
        with pytest.raises(ProtocolError, match=r"'x' of .*pie was replaced after .* bytes"):
            async for _ in pieces:
                pass


async def test_a_download_that_breaks_again_and_again_is_an_error(
    pie: Document, database: Database, cutting: Callable[[int, int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "_BACKOFF", Backoff(0))
    await pie.attachment("x").save(PNG * 4, "image/png")
    async with CouchDB(cutting(10**9, 300_000)) as couch:
        pieces = Document(couch.database(database.id), "pie").attachment("x").stream(resume=True)
        await anext(pieces)
        cutting(10**9, 100)
        with pytest.raises(TransportError, match=r"GET /.*/pie/x"):
            async for _ in pieces:
                pass
