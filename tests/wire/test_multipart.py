"""Multipart bodies are taken apart the same however they arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from couchmodel._wire.multipart import (
    AttachmentPart,
    MultipartEvent,
    MultipartReader,
    MultipartRelated,
    PartEnd,
    PartHead,
)

CONTENTS = [b"", b"plain", b"\r\n", b"\r\n--", b"--xyz--", b"\r\n--xy", bytes(range(256)) * 5]


def body(contents: list[bytes], document: bytes = b'{"_id":"a"}') -> tuple[str, bytes]:
    parts = [AttachmentPart(f"n{number}", "image/png", len(content)) for number, content in enumerate(contents)]
    related = MultipartRelated(document, parts)
    framed = b"".join(related.part_head(part) + content for part, content in zip(parts, contents, strict=True))
    text = related.head + framed + related.tail
    assert len(text) == related.length
    return related.content_type, text


def read(content_type: str, text: bytes, size: int) -> list[tuple[dict[str, str], bytes]]:
    reader = MultipartReader(content_type)
    events: list[MultipartEvent] = []
    for start in range(0, len(text), size):
        events += reader.feed(text[start : start + size])
    reader.finish()
    parts: list[tuple[dict[str, str], bytes]] = []
    for event in events:
        if isinstance(event, PartHead):
            parts.append((dict(event.headers), b""))
        elif not isinstance(event, PartEnd):
            parts[-1] = (parts[-1][0], parts[-1][1] + event)
    assert events.count(PartEnd()) == len(parts)
    return parts


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
def test_what_is_written_is_read_whatever_the_pieces(size: int) -> None:
    parts = read(*body(CONTENTS), size)
    assert [content for _, content in parts] == [b'{"_id":"a"}', *CONTENTS]
    assert parts[2][0]["content-length"] == "5"


@given(contents=st.lists(st.binary(max_size=60), max_size=4), size=st.integers(1, 200))
def test_any_contents_survive(contents: list[bytes], size: int) -> None:
    assert [content for _, content in read(*body(contents), size)][1:] == contents


@pytest.mark.parametrize("content_type", ["m/r; boundary=xyz", 'm/r; boundary="xyz"', "m/r;Boundary=xyz; type=a/b"])
def test_a_body_as_others_write_it(content_type: str) -> None:
    text = b"preamble\r\n--xyz  \r\n\r\nno headers\r\n--xyz\r\nA-B: c\r\n\r\n\r\n--xyz--\r\nepilogue"
    assert read(content_type, text, 5) == [({}, b"no headers"), ({"a-b": "c"}, b"")]


@pytest.mark.parametrize(
    "text",
    [b"", b"--xyz\r\n\r\nabc", b"--xyz\r\n\r\nabc\r\n--xyz", b"--xyz\r\nA: b", b"no boundary at all"],
)
def test_a_body_that_is_cut_off_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError, match="cut off"):
        read("m/r; boundary=xyz", text, 4)


def test_what_follows_a_boundary_is_a_new_line() -> None:
    with pytest.raises(ValueError, match="boundary"):
        read("m/r; boundary=xyz", b"--xyzzy\r\n\r\n", 20)


def test_headers_without_an_end_are_refused() -> None:
    with pytest.raises(ValueError, match="longer than 65536 bytes"):
        read("m/r; boundary=xyz", b"--xyz\r\n" + b"a" * 100_000, 1000)


def test_a_content_type_without_a_boundary_is_refused() -> None:
    with pytest.raises(ValueError, match="boundary"):
        MultipartReader("multipart/related")


def test_a_media_type_cannot_bring_headers_along() -> None:
    with pytest.raises(ValueError, match="media type"):
        MultipartRelated(b"{}", [AttachmentPart("a", "text/plain\r\nX: y", 1)])


def test_memory_is_bounded_by_what_is_fed() -> None:
    content_type, text = body([bytes(1_000_000)])
    reader = MultipartReader(content_type)
    largest = 0
    for start in range(0, len(text), 1000):
        for event in reader.feed(text[start : start + 1000]):
            largest = max(largest, len(event) if isinstance(event, bytes) else 0)
        assert len(reader._buffer) < 2000
    assert largest < 2000
