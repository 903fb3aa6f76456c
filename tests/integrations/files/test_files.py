"""Attachments and files of buckets over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2 as httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from starlette.applications import Starlette
from starlette.routing import Mount

from couchmodel.bucket import Bucket
from couchmodel.engine import CouchDB, Database, Document
from couchmodel.errors import ConfigurationError
from couchmodel.integrations.files import FileApp, ServedFile, attachments_of, file_handler, files_of
from tests.bucket.files import LONG
from tests.integrations.files.conftest import Answer, Fetch, Serve

# What does not depend on the store is tested with one.
in_memory = pytest.mark.parametrize("backend", ["memory"], indirect=True)


@pytest.fixture
def bucket(database: Database, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket whose files have parts of 64 bytes."""
    monkeypatch.setattr("couchmodel.bucket.content_writer.PART_BYTES", 64)
    return Bucket(database)


@pytest.fixture
async def fetch(bucket: Bucket, serve: Serve) -> Fetch:
    """Asks for the files of the bucket: "pie" has 1,024 bytes, "empty" none."""
    await bucket.upload_from_stream_with_id("pie", "pie.png", LONG)
    await bucket.upload_from_stream_with_id("empty", "empty", b"")
    return await serve(files_of(bucket))


async def test_a_file_is_served_with_what_is_known_of_it(fetch: Fetch, bucket: Bucket) -> None:
    file = await bucket.open_download_stream("pie")
    status, headers, body = await fetch("/pie")
    assert (status, body) == (200, LONG)
    assert headers["content-type"] == "image/png"
    assert headers["content-length"] == "1024"
    assert headers["etag"] == f'"{file.sha256}"'
    assert parsedate_to_datetime(headers["last-modified"]) == file.upload_date.replace(microsecond=0)
    assert headers["content-disposition"] == 'inline; filename="pie.png"'
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-content-type-options"] == "nosniff"


async def test_head_has_the_headers_of_get(fetch: Fetch) -> None:
    for path in ("/pie", "/empty", "/nothing"):
        got, asked = await fetch(path), await fetch(path, "HEAD")
        volatile = {"date", "server"}
        assert asked.status == got.status
        assert {**asked.headers, **dict.fromkeys(volatile)} == {**got.headers, **dict.fromkeys(volatile)}
        assert asked.body == b""


async def test_an_empty_file_is_served(fetch: Fetch) -> None:
    answer = await fetch("/empty")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
    assert (await fetch("/empty", Range="bytes=0-1")).status == 416


@pytest.mark.parametrize("path", ["/nothing", "/", "/pie/x", "/..%2Fpie", "/_design"])
async def test_a_missing_file_is_404(fetch: Fetch, path: str) -> None:
    answer = await fetch(path)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")


@in_memory
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_405(fetch: Fetch, method: str) -> None:
    answer = await fetch("/pie", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


# --- ranges


RANGES = [
    ("bytes=0-9", 0, 10),
    ("bytes=60-70", 60, 71),
    ("bytes=1000-", 1000, 1024),
    ("bytes=-5", 1019, 1024),
    ("bytes=-5000", 0, 1024),
    ("bytes=1000-5000", 1000, 1024),
    ("Bytes=5-5", 5, 6),
    ("bytes=0-9,5000-", 0, 10),
]


@in_memory
@pytest.mark.parametrize(("header", "start", "stop"), RANGES)
async def test_a_range_is_served(fetch: Fetch, header: str, start: int, stop: int) -> None:
    answer = await fetch("/pie", Range=header)
    assert (answer.status, answer.body) == (206, LONG[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/1024"
    assert answer.headers["content-length"] == str(stop - start)


MALFORMED = [
    f"bytes={'9' * 5000}-",
    f"bytes=0-{'9' * 5000}",
    f"bytes=-{'9' * 5000}",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=a-b",
    "bytes=9-5",
    "items=0-5",
    "bytes=0-1,x",
    "bytes=1-2-3",
]
MANY = ["bytes=" + ",".join(f"{n}-{n}" for n in range(11)), "bytes=0-,0-,0-", "bytes=0-700,100-900"]


@in_memory
@pytest.mark.parametrize("header", [*MALFORMED, *MANY])
async def test_a_range_that_makes_no_sense_is_answered_with_the_whole(fetch: Fetch, header: str) -> None:
    answer = await fetch("/pie", Range=header)
    assert (answer.status, answer.body) == (200, LONG)


@in_memory
@pytest.mark.parametrize("header", ["bytes=1024-", "bytes=5000-6000,7000-", "bytes=-0"])
async def test_a_range_outside_the_file_is_416(fetch: Fetch, header: str) -> None:
    answer = await fetch("/pie", Range=header)
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */1024")


async def test_several_ranges_are_served_in_parts(fetch: Fetch) -> None:
    answer = await fetch("/pie", Range="bytes=0-9, 60-70,-5")
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert (answer.status, kind) == (206, "multipart/byteranges")
    assert answer.headers["content-length"] == str(len(answer.body))
    preamble, *parts, end = answer.body.split(b"--" + boundary.encode())
    assert (preamble, end) == (b"\r\n", b"--\r\n")
    for part, (start, stop) in zip(parts, [(0, 10), (60, 71), (1019, 1024)], strict=True):
        head, _, content = part.partition(b"\r\n\r\n")
        assert content == LONG[start:stop] + b"\r\n"
        assert head.split(b"\r\n")[1:] == [
            b"Content-Type: image/png",
            b"Content-Range: bytes %d-%d/1024" % (start, stop - 1),
        ]


# --- conditions


async def test_a_file_that_the_client_has_is_not_sent(fetch: Fetch, bucket: Bucket) -> None:
    headers = (await fetch("/pie")).headers
    tag, modified = headers["etag"], headers["last-modified"]
    for condition in (tag, f'"x", W/{tag}', "*"):
        answer = await fetch("/pie", If_None_Match=condition)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert (await fetch("/pie", If_Modified_Since=modified)).status == 304
    assert (await fetch("/pie", "HEAD", If_None_Match=tag)).status == 304


OUTDATED = [
    {"If_None_Match": '"other"'},
    {"If_Modified_Since": "Mon, 01 Jan 2001 00:00:00 GMT"},
    {"If_Modified_Since": "yesterday"},
    {"If_Modified_Since": "Mon, 01 Jan 2100 00:00:00 +99999999999999"},
    # A tag that differs counts more than a time.
    {"If_None_Match": '"other"', "If_Modified_Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
]


@in_memory
@pytest.mark.parametrize("condition", OUTDATED)
async def test_a_file_that_the_client_has_not_is_sent(fetch: Fetch, condition: dict[str, str]) -> None:
    assert (await fetch("/pie", **condition)).status == 200


async def test_a_range_is_sent_only_of_the_file_that_the_client_knows(fetch: Fetch) -> None:
    headers = (await fetch("/pie")).headers
    for condition, status in (
        (headers["etag"], 206),
        (headers["last-modified"], 206),
        ("W/" + headers["etag"], 200),
        ('"other"', 200),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 200),
    ):
        assert (await fetch("/pie", Range="bytes=0-9", If_Range=condition)).status == status


# --- names and types


NAMES = [
    ("pie.png", 'filename="pie.png"'),
    ("Käse 🧀.png", "filename=\"K_se _.png\"; filename*=UTF-8''K%C3%A4se%20%F0%9F%A7%80.png"),
    ('a"b\\c.png', 'filename="a_b_c.png"'),
    ("../../etc/passwd.png", 'filename=".._.._etc_passwd.png"'),
    ("a\r\nSet-Cookie: x.png", 'filename="a__Set-Cookie: x.png"'),
]


@in_memory
@pytest.mark.parametrize(("name", "expected"), NAMES)
async def test_the_name_of_a_file_is_given(bucket: Bucket, serve: Serve, name: str, expected: str) -> None:
    await bucket.upload_from_stream_with_id("x", name, b"x")
    answer = await (await serve(files_of(bucket)))("/x")
    assert answer.headers["content-disposition"] == f"inline; {expected}"


TYPES = [
    ("text/html", "attachment"),
    ("TEXT/HTML; charset=utf-8", "attachment"),
    ("application/xhtml+xml", "attachment"),
    ("image/svg+xml", "attachment"),
    ("text/xml", "attachment"),
    ("application/javascript", "attachment"),
    ("image/png\r\nX-Evil: 1", "attachment"),
    ("image/png, text/html", "attachment"),
    ("image/png; x=1, text/html", "attachment"),
    ("image/png", "inline"),
    ('video/mp4; codecs="avc1, mp4a"', "inline"),
    ("video/mp4", "inline"),
    ("text/plain; charset=utf-8", "inline"),
    ("application/pdf", "inline"),
]


@in_memory
@pytest.mark.parametrize(("kind", "disposition"), TYPES)
async def test_only_safe_types_are_shown(bucket: Bucket, serve: Serve, kind: str, disposition: str) -> None:
    async with bucket.open_upload_stream_with_id("x", "x") as file:
        await file.write(b"x")
        await file.set("content_type", kind)
    fetch = await serve(files_of(bucket))
    answer = await fetch("/x")
    assert answer.headers["content-disposition"] == f'{disposition}; filename="x"'
    assert "x-evil" not in answer.headers
    assert (await fetch("/x?download=1")).headers["content-disposition"].startswith("attachment")


COMPRESSED = [("notes.txt.gz", "application/gzip"), ("notes.txt.bz2", "application/octet-stream")]


@in_memory
@pytest.mark.parametrize(("name", "kind"), COMPRESSED)
async def test_a_compressed_file_is_not_shown_as_what_it_contains(
    bucket: Bucket, serve: Serve, name: str, kind: str
) -> None:
    await bucket.upload_from_stream_with_id("x", name, b"\x1f\x8b")
    headers = (await (await serve(files_of(bucket)))("/x")).headers
    assert headers["content-type"] == kind
    assert headers["content-disposition"] == f'attachment; filename="{name}"'


async def test_html_is_shown_if_that_is_asked_for(bucket: Bucket, serve: Serve) -> None:
    await bucket.upload_from_stream_with_id("x", "x.html", b"<p>")
    answer = await (await serve(files_of(bucket), inline_types=["text/html"], cache_control="max-age=60"))("/x")
    assert answer.headers["content-disposition"].startswith("inline")
    assert answer.headers["cache-control"] == "max-age=60"
    assert "sandbox" in answer.headers["content-security-policy"]


# --- finders


async def test_files_are_found_by_name(bucket: Bucket, serve: Serve) -> None:
    for content in (b"old", b"new"):
        await bucket.upload_from_stream("a/b c.txt", content)
    fetch = await serve(files_of(bucket, by_name=True))
    assert [(await fetch(path)).body for path in ("/a/b%20c.txt", "/a%2Fb%20c.txt")] == [b"new", b"new"]
    assert (await fetch("/other")).status == 404


@pytest.fixture
async def recipe(database: Database) -> Document:
    """A document with attachments, one of them of a type that CouchDB compresses."""
    document = await database.create("a/recipe")
    uploads: dict[str, Any] = {"photo.png": (LONG, "image/png"), "sizes/small": (b"s", "image/png")}
    await document.save_with({**uploads, "notes.txt": (b"Peel the apples. " * 50, "text/plain")})
    return document


async def test_attachments_of_a_database_are_served(recipe: Document, database: Database, serve: Serve) -> None:
    fetch = await serve(attachments_of(database))
    answer = await fetch("/a%2Frecipe/photo.png")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, LONG, "image/png")
    assert answer.headers["content-disposition"] == 'inline; filename="photo.png"'
    assert (await fetch("/a%2Frecipe/photo.png", If_None_Match=answer.headers["etag"])).status == 304
    assert (await fetch("/a%2Frecipe/photo.png", Range="bytes=10-19")).body == LONG[10:20]
    for path in ("/a%2Frecipe/sizes%2Fsmall", "/a%2Frecipe/sizes/small"):
        assert (await fetch(path)).body == b"s"


async def test_a_compressed_attachment_is_served_plain(recipe: Document, database: Database, serve: Serve) -> None:
    fetch = await serve(attachments_of(database))
    whole = b"Peel the apples. " * 50
    answer = await fetch("/a%2Frecipe/notes.txt")
    assert (answer.body, answer.headers.get("content-encoding")) == (whole, None)
    assert (await fetch("/a%2Frecipe/notes.txt", Range="bytes=5-15")).body in (whole, whole[5:16])


@pytest.mark.parametrize(
    "path",
    ["/a%2Frecipe", "/a%2Frecipe/", "/a%2Frecipe/x", "/x/photo.png", "/_design%2Fx/y", "/a%2Frecipe/_x", "/../x"],
)
async def test_what_is_no_attachment_is_404(recipe: Document, database: Database, serve: Serve, path: str) -> None:
    assert (await (await serve(attachments_of(database)))(path)).status == 404


async def test_only_the_named_databases_are_served(
    recipe: Document, couch: CouchDB, database: Database, serve: Serve
) -> None:
    fetch = await serve(attachments_of(couch, database.id))
    assert (await fetch(f"/{database.id}/a%2Frecipe/photo.png")).body == LONG
    assert (await fetch("/_users/a%2Frecipe/photo.png")).status == 404
    with pytest.raises(ConfigurationError, match="name the databases"):
        attachments_of(couch)


# --- what goes wrong


async def delete_part(database: Database, number: int) -> None:
    parts = [id async for id in database.akeys() if "/part/" in id]
    await (await database[parts[number]]).delete()


@pytest.mark.parametrize("number", [0, 9, 15])
async def test_a_missing_part_is_told_before_the_first_byte(fetch: Fetch, database: Database, number: int) -> None:
    await delete_part(database, number)
    answer = await fetch("/pie")
    assert (answer.status, answer.body) == (500, b"The file cannot be read.\n")
    assert (await fetch("/pie", Range=f"bytes={number * 64}-")).status == 500
    beside = (number + 1) % 16 * 64
    assert (await fetch("/pie", Range=f"bytes={beside}-{beside + 9}")).status == 206


async def test_an_attachment_that_is_deleted_meanwhile_is_404(
    recipe: Document, database: Database, serve: Serve
) -> None:
    find = attachments_of(database)

    async def slow(path: Any) -> ServedFile | None:
        found = await find(path)
        await recipe.attachment("photo.png").delete()
        return found

    assert (await (await serve(slow))("/a%2Frecipe/photo.png")).status == 404


class Gate:
    """An endless file, which tells when it is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def find(self, path: Any) -> ServedFile:
        return ServedFile("endless", "video/mp4", None, "", self.pieces)

    async def pieces(self, start: int, stop: int) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            self.closed.set()


async def test_a_file_is_read_no_longer_than_the_client_stays() -> None:
    gate, sent = Gate(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await sent.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.set()

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""}
    await asyncio.wait_for(FileApp(gate.find)(scope, receive, send), 10)
    assert gate.closed.is_set()


async def test_aiohttp_reads_a_file_no_longer_than_the_client_stays() -> None:
    gate = Gate()
    app = web.Application()
    app.router.add_get("/{path:.+}", file_handler(gate.find))
    async with TestClient(TestServer(app)) as client:
        response = await client.get("/x")
        await response.content.readexactly(1000)
        response.close()
        await asyncio.wait_for(gate.closed.wait(), 10)


async def test_a_cancelled_request_closes_its_file() -> None:
    gate, sent = Gate(), asyncio.Event()

    async def send(message: Any) -> None:
        sent.set()

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    task = asyncio.create_task(FileApp(gate.find)(scope, asyncio.Event().wait, send))  # type: ignore[arg-type]
    await sent.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert gate.closed.is_set()


async def test_an_application_is_mounted_below_a_path(bucket: Bucket) -> None:
    await bucket.upload_from_stream_with_id("a/b", "pie.png", LONG)
    app = Starlette(routes=[Mount("/my files", FileApp(files_of(bucket)))])
    assert (await ask(app, "/my%20files/a%2Fb")).body == LONG
    assert (await ask(app, "/my%20files/a/b")).body == LONG


@in_memory
@pytest.mark.parametrize("path", ["/@a:b/pie", "/%40a%3Ab/pie", "/of/a+b@c.d/pie", "/of/a%2Bb%40c.d/pie", "/@a:b//pie"])
async def test_the_place_of_an_application_may_be_quoted_or_not(bucket: Bucket, path: str) -> None:
    await bucket.upload_from_stream_with_id("pie", "pie.png", LONG)
    files = FileApp(files_of(bucket))
    app = Starlette(routes=[Mount("/@a:b", files), Mount("/of/{user}", files)])
    assert (await ask(app, path)).body == LONG


async def ask(app: Any, path: str) -> Answer:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://files") as client:
        response = await client.get(path)
        return Answer(response.status_code, response.headers, response.content)
