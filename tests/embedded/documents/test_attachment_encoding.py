"""Attachments' contents: they stream, are stored once, and go when nobody needs them any more."""

import asyncio
import gzip
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from couchmodel._embedded.limits import CHUNK_BYTES as CHUNK
from couchmodel._embedded.limits import STAGED_BYTES as STAGED
from tests.embedded.conftest import Client

LARGE = bytes(range(256)) * (3 * STAGED // 256) + b"the end"
PNG = {"content-type": "image/png"}
TEXT = {"content-type": "text/plain"}


async def in_pieces(data: bytes, size: int = 60_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_a_media_type_that_would_be_several_headers_is_in_the_document_only(
    client: Client, database: str
) -> None:
    kind = "text/html\r\nSet-Cookie: AuthSession=x"
    await client.ask("PUT", "/db/a", {"_attachments": {"page": {"content_type": kind, "data": "aGk="}}})
    assert (await client.json("GET", "/db/a"))["_attachments"]["page"]["content_type"] == kind
    answer = await client.ask("GET", "/db/a/page")
    await answer.collect()
    assert answer.headers["content-type"] == "application/octet-stream"


async def put(client: Client, target: str, body: Any, headers: dict[str, str] = PNG) -> str:
    """The revision after an attachment is put."""
    answer = await client.ask("PUT", target, body, headers=headers)
    assert answer.status == 201
    return str(answer.json()["rev"])


async def fetch(client: Client, target: str, **headers: str) -> bytes:
    """The content of an attachment."""
    answer = await client.ask("GET", target, headers={name.replace("_", "-"): text for name, text in headers.items()})
    await answer.collect()
    assert answer.status in (200, 206)
    return answer.body


async def counts(client: Client) -> tuple[int, int]:
    """How many contents there are, and how many chunks of them, once everything is cleared away."""
    await client.store.write(lambda _: None)
    sql = "SELECT (SELECT count(*) FROM blob), (SELECT count(*) FROM chunk)"
    row = await client.store.read(lambda connection: connection.execute(sql).fetchone())
    return int(row[0]), int(row[1])


@pytest.mark.parametrize("data", [b"", b"x", b"x" * CHUNK, b"x" * (CHUNK + 1), LARGE], ids=len)
@pytest.mark.parametrize("headers", [PNG, TEXT], ids=["as it is", "compressed"])
async def test_a_content_comes_back_as_it_went(
    client: Client, database: str, data: bytes, headers: dict[str, str]
) -> None:
    await put(client, "/db/a/file", in_pieces(data), headers)
    assert await fetch(client, "/db/a/file") == data
    stub = (await client.json("GET", "/db/a"))["_attachments"]["file"]
    assert (stub["length"], stub["stub"]) == (len(data), True)


@pytest.mark.parametrize(("first", "last"), [(0, 9), (CHUNK - 1, CHUNK), (5, 2 * CHUNK + 5), (len(LARGE) - 3, None)])
async def test_a_part_of_a_content_can_be_read(client: Client, database: str, first: int, last: int | None) -> None:
    await put(client, "/db/a/file", in_pieces(LARGE))
    part = await fetch(client, "/db/a/file", range=f"bytes={first}-{'' if last is None else last}")
    assert part == LARGE[first : None if last is None else last + 1]


async def test_the_last_bytes_can_be_read(client: Client, database: str) -> None:
    await put(client, "/db/a/file", in_pieces(LARGE))
    assert await fetch(client, "/db/a/file", range="bytes=-7") == b"the end"


async def test_a_compressed_content_is_sent_as_it_is_to_whoever_takes_it(client: Client, database: str) -> None:
    await put(client, "/db/a/file", b"text " * 1000, TEXT)
    packed = await fetch(client, "/db/a/file", accept_encoding="gzip")
    assert gzip.decompress(packed) == b"text " * 1000
    stub = (await client.json("GET", "/db/a"))["_attachments"]["file"]
    assert stub["digest"] == "md5-" + b64encode(hashlib.md5(packed, usedforsecurity=False).digest()).decode()


async def test_a_content_that_comes_compressed_stays_so(client: Client, database: str) -> None:
    packed = gzip.compress(b"text " * 1000)
    await put(client, "/db/a/file", packed, {**PNG, "content-encoding": "gzip"})
    assert await fetch(client, "/db/a/file", accept_encoding="gzip") == packed
    assert await fetch(client, "/db/a/file") == b"text " * 1000


async def test_what_blows_up_when_it_is_unpacked_comes_in_small_pieces(client: Client, database: str) -> None:
    await put(client, "/db/a/file", gzip.compress(bytes(20_000_000)), {**PNG, "content-encoding": "gzip"})
    answer = await client.ask("GET", "/db/a/file")
    assert answer.stream is not None
    assert {len(piece) <= CHUNK async for piece in answer.stream} == {True}


async def test_equal_contents_are_stored_once(client: Client, database: str) -> None:
    await client.ask("PUT", "/other")
    for target in ("/db/a/file", "/db/b/file", "/other/a/file"):
        await put(client, target, in_pieces(LARGE))
    await put(client, "/db/c/small", b"small")
    await put(client, "/db/d/small", b"small")
    assert await counts(client) == (2, 13 + 1)


async def test_an_upload_that_breaks_off_leaves_nothing(client: Client, database: str) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for piece in in_pieces(LARGE):
            yield piece
        raise ConnectionResetError

    assert (await client.ask("PUT", "/db/a/file", broken(), headers=PNG)).status == 500
    assert await counts(client) == (0, 0)
    assert (await client.ask("GET", "/db/a")).status == 404


async def test_an_upload_that_is_given_up_leaves_nothing(client: Client, database: str) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(CHUNK)
            begun.set()
            await asyncio.sleep(0)

    task = asyncio.create_task(client.ask("PUT", "/db/a/file", endless(), headers=PNG))
    await begun.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await counts(client) == (0, 0)


async def test_an_upload_to_a_stale_revision_leaves_nothing(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/a", {})
    assert (await client.ask("PUT", "/db/a/file", in_pieces(LARGE), headers=PNG)).status == 409
    assert await counts(client) == (0, 0)


async def compact(client: Client) -> None:
    """Compact the database, and wait until that is done."""
    await client.ask("POST", "/db/_compact", {})
    for _ in range(1000):
        if not (await client.json("GET", "/db"))["compact_running"]:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the compaction does not end")


async def test_a_removed_content_stays_for_old_revisions_until_the_database_is_compacted(
    client: Client, database: str
) -> None:
    old = await put(client, "/db/a/file", b"old")
    new = await put(client, f"/db/a/file?rev={old}", b"new")
    assert await fetch(client, f"/db/a/file?rev={old}") == b"old"
    await compact(client)
    assert await counts(client) == (1, 1)
    assert (await client.ask("GET", f"/db/a/file?rev={old}")).status == 404
    assert await fetch(client, f"/db/a/file?rev={new}") == b"new"


async def test_a_content_goes_with_the_last_revision_that_the_limit_keeps(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/_revs_limit", 2)
    rev = await put(client, "/db/a/file", b"old")
    for _ in range(3):
        rev = (await client.json("PUT", f"/db/a?rev={rev}", {}))["rev"]
    assert await counts(client) == (0, 0)


async def test_contents_go_with_their_database(client: Client, database: str) -> None:
    await put(client, "/db/a/file", in_pieces(LARGE))
    await client.ask("PUT", "/other")
    await put(client, "/other/b/file", b"kept")
    await client.ask("DELETE", "/db")
    for _ in range(3):
        await counts(client)
    assert await counts(client) == (1, 1)
    assert await fetch(client, "/other/b/file") == b"kept"


async def test_a_reader_goes_on_while_the_attachment_is_replaced(client: Client, database: str) -> None:
    rev = await put(client, "/db/a/file", in_pieces(LARGE))
    answer = await client.ask("GET", "/db/a/file")
    assert answer.stream is not None
    pieces = aiter(answer.stream)
    read = await anext(pieces)
    await put(client, f"/db/a/file?rev={rev}", b"new")
    assert read + b"".join([piece async for piece in pieces]) == LARGE


async def test_a_document_keeps_the_attachments_that_it_names(client: Client, database: str) -> None:
    rev = await put(client, "/db/a/one", b"1")
    rev = await put(client, f"/db/a/two?rev={rev}", b"2")
    document = await client.json("GET", "/db/a")
    del document["_attachments"]["one"]
    assert (await client.ask("PUT", "/db/a", document)).status == 201
    assert list((await client.json("GET", "/db/a"))["_attachments"]) == ["two"]


async def test_a_copy_has_the_attachments_of_its_source(client: Client, database: str) -> None:
    await put(client, "/db/a/file", b"content")
    await client.ask("COPY", "/db/a", headers={"destination": "b"})
    await compact(client)
    assert await fetch(client, "/db/b/file") == b"content"
    assert await counts(client) == (1, 1)
