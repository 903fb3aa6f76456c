"""Contents that arrive are made plain and compared."""

import gzip

import pytest

from couchmodel._wire.contents import ContentDecoder, ContentDigest, digest_of, is_stored_plain, plain_length

PLAIN = b"butter, " * 100_000
PACKED = gzip.compress(PLAIN)


def digest(data: bytes) -> str:
    digest = ContentDigest()
    digest.update(data)
    return str(digest)


def arrive(decoder: ContentDecoder, data: bytes, size: int = 1000) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(plain for piece in pieces for plain in decoder.feed(piece))


def test_a_packed_content_is_unpacked_and_compared_with_the_digest_of_the_packed_one() -> None:
    decoder = ContentDecoder("gzip", digest(PACKED), is_plain=False)
    assert arrive(decoder, PACKED) == PLAIN
    decoder.finish(len(PLAIN))


def test_a_content_may_be_packed_on_the_way() -> None:
    decoder = ContentDecoder("gzip", digest(PLAIN), is_plain=True)
    assert arrive(decoder, PACKED + gzip.compress(b"")) == PLAIN
    decoder.finish(None)


def test_what_blows_up_comes_in_small_pieces() -> None:
    bomb = gzip.compress(bytes(20_000_000))
    assert max(map(len, ContentDecoder("gzip", None, is_plain=False).feed(bomb))) <= 256 * 1024


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("", PLAIN[:-1], "digest"),
        ("", PLAIN[:-1] + b"x", "digest"),
        ("gzip", PACKED[:-9], "end is missing"),
        ("gzip", PLAIN, "cannot be decompressed"),
        ("br", PLAIN, "encoding 'br'"),
    ],
)
def test_what_is_not_as_stored_is_refused(encoding: str, data: bytes, message: str) -> None:
    def check() -> None:
        decoder = ContentDecoder(encoding, digest(PLAIN), is_plain=True)
        arrive(decoder, data)
        decoder.finish(None)

    with pytest.raises(ValueError, match=message):
        check()


def test_a_length_is_compared_where_there_is_no_digest() -> None:
    decoder = ContentDecoder("", None, is_plain=True)
    arrive(decoder, b"four")
    with pytest.raises(ValueError, match="5 bytes were expected, and 4 arrived"):
        decoder.finish(5)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ('"prt73jJRyi2BDTLa3Z6K5w=="', "md5-prt73jJRyi2BDTLa3Z6K5w=="),
        ('W/"prt73jJRyi2BDTLa3Z6K5w=="', None),
        ('"prt73jJRyi2BDTLa3Z6K5w==-gzip"', None),
        ('"1-967a00dff5e02add41819138abb3284d"', None),
        ("", None),
    ],
)
def test_a_tag_that_somebody_has_changed_is_no_digest(tag: str, expected: str | None) -> None:
    assert digest_of({"etag": tag}) == expected


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ({"content-length": "5", "accept-ranges": "none"}, 5),
        ({"content-length": "0", "accept-ranges": "none"}, None),
        ({"content-length": "0", "accept-ranges": "bytes"}, 0),
        ({"content-length": "5", "content-encoding": "gzip"}, None),
        ({}, None),
    ],
)
def test_the_length_is_that_of_the_plain_content(headers: dict[str, str], length: int | None) -> None:
    assert plain_length(headers) == length
    assert is_stored_plain({}) is None
