"""Parts of an attachment, however they are asked for."""

import gzip

import pytest

from couchmodel.engine import Database
from couchmodel.errors import RangeNotSatisfiableError
from tests.engine.requests import ask

DATA = b"0123456789" * 10


@pytest.fixture
async def file(database: Database) -> str:
    """The target of an attachment of a hundred bytes."""
    document = await database.create("a", data={})
    await document.save()
    await document.attachment("file").save(DATA, "application/octet-stream")
    return "/a/file"


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-3", 0, 3),
        ("bytes=50-500", 50, 99),
        ("bytes=90-", 90, 99),
        ("bytes=-10", 90, 99),
        ("bytes=-100", 1, 99),
        ("bytes=-1000", 1, 99),
        ("bytes=0-3,", 0, 3),
        ("bytes=+1-3", 1, 3),
        ("bytes=1-+3", 1, 3),
        ("bytes=1--3", 1, 3),
    ],
)
async def test_a_range_is_a_part(database: Database, file: str, header: str, first: int, last: int) -> None:
    answer = await ask(database, "GET", file, headers={"range": header})
    assert (answer.status, answer.body) == (206, DATA[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/100"


@pytest.mark.parametrize(
    "header",
    [
        *("", "bytes", "bytes=-", "bytes=0-", "bytes=a-b", "bytes=1-2-3", "bytes=0 - 3", "bytes =0-3", "items=0-3"),
        *("bytes=0-,3-5", "bytes=0-3,x", f"bytes={','.join(['1-2'] * 10)}"),
    ],
)
async def test_what_is_no_range_is_answered_with_the_whole(database: Database, file: str, header: str) -> None:
    answer = await ask(database, "GET", file, headers={"range": header})
    assert (answer.status, answer.body) == (200, DATA)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=5-3", "bytes=-0", "bytes=--5", "bytes=0-3,200-300"])
async def test_a_range_behind_the_end_is_refused(database: Database, file: str, header: str) -> None:
    with pytest.raises(RangeNotSatisfiableError, match="Requested range not satisfiable"):
        await ask(database, "GET", file, headers={"range": header})


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_what_is_packed_has_no_parts(database: Database, encoding: str) -> None:
    await ask(database, "PUT", "b/text", DATA, {"content-type": "text/plain"})
    headers = {"accept-encoding": encoding, "range": "bytes=0-3"}
    answer = await ask(database, "GET", "b/text", headers=headers)
    assert (answer.status, answer.headers["accept-ranges"]) == (200, "none")
    with pytest.raises(RangeNotSatisfiableError):
        await ask(database, "GET", "b/text", headers={**headers, "range": "bytes=900-"})


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        *(("gzip", True), ("deflate, gzip;q=0.5", True), ("*", True), ("identity, *;q=0.1", True)),
        *(("identity", False), ("gzip;q=0", False), ("*, gzip; q=0.0", False), ("deflate", False)),
    ],
)
async def test_a_content_is_packed_for_whoever_takes_that(database: Database, accepted: str, is_packed: bool) -> None:
    await ask(database, "PUT", "b/text", DATA, {"content-type": "text/plain"})
    answer = await ask(database, "GET", "b/text", headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == ("gzip" if is_packed else None)
    assert (gzip.decompress(answer.body) if is_packed else answer.body) == DATA


@pytest.mark.parametrize(
    ("header", "parts"), [("bytes=0-3, 5-7", [(0, 3), (5, 7)]), ("bytes=90-,-1", [(90, 99), (99, 99)]), ("bytes=", [])]
)
async def test_several_ranges_are_several_parts(
    database: Database, file: str, header: str, parts: list[tuple[int, int]]
) -> None:
    answer = await ask(database, "GET", file, headers={"range": header})
    kind, _, boundary = answer.headers["content-type"].partition('; boundary="')
    expected = [
        f"\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{last}/100\r\n\r\n".encode()
        + DATA[first : last + 1]
        + b"\r\n"
        for first, last in parts
    ]
    delimiter = f"--{boundary[:-1]}".encode()
    assert (answer.status, kind) == (206, "multipart/byteranges")
    assert answer.body == delimiter.join([b"", *expected, b"--"])
