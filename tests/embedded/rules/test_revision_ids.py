"""Revision ids are CouchDB's own: every row here is what a CouchDB 3.5.0 answered."""

import base64
import hashlib
import math
from typing import Any

import pytest

from couchmodel._embedded.rules.erlang_binary import normalize_number
from couchmodel._embedded.rules.revision_ids import revision_id

Attachment = tuple[str, str, bytes]

BODIES: list[tuple[dict[str, Any], str]] = [
    ({"views": {}}, "0b24e44a44af45e51e562fd124ce3007"),
    ({"a": 1}, "23202479633c2b380f79507a776743d5"),
    ({"title": "Apple pie", "ingredients": ["apples", "flour"], "n": 1.5}, "7b9347636d3a5e1a65abfa8504b6af22"),
    ({"": "empty key", "nested": {"_ok_inside": True}}, "aa8e49f0b1a6bb989d95842f8c44bbe6"),
    ({"snowman": "☃", "astral": "🍎", "nul": "a\0b"}, "b436efc12e67ee93998648f7492d872a"),
    (
        {"big": 12345678901234567890, "float": 1e300, "neg": -0.0, "tiny": 5e-324, "exp": 1.0},
        "6ae90e43d926f7ade68724b73bb9fd95",
    ),
    (
        {
            "name": "Ada",
            "age": 36,
            "tags": ["math", "code"],
            "addr": {"city": "London", "zip": None},
            "score": 9.5,
        },
        "040703447ce838b8151312e854e79fc2",
    ),
    (
        {"age": [1, 2], "tags": ["code", "math"], "dotted.name": 1, "addr": {"city": "london"}},
        "7c507c805a944693039545d05aebdad7",
    ),
    (
        {"name": "bob", "age": 25, "tags": [], "addr": {"city": "Paris"}, "score": -1},
        "ea97d8ce90def0304eacb0d286794c48",
    ),
    ({"age": True, "name": "", "score": 1e10, "deep": {"er": {"est": 7}}}, "e83d102cc00fe1ad03a1519370ef5314"),
    ({"k": None, "n": 0, "g": "even", "h": 0}, "0be4e349675638bcf7328c853b1a5a77"),
    ({"k": [1, "x"], "n": 17, "g": "odd", "h": 2}, "589f315034d08fc07d7b04574729d460"),
    (
        {"bytes": [0, 255], "integers": [0, 256], "none": [], "mixed": [1, True], "floats": [1.0]},
        "15cad13002dd1dbc7789526ca83aa83d",
    ),
    (
        {"small": [255, 256, -1], "edges": [2147483647, 2147483648, -2147483648, -2147483649]},
        "df8dd7fb6075ab5a28c8e88a53f08606",
    ),
    ({"big": [2**64, -(2**63), 10**30, -(10**40)]}, "c18eb423f873144c166c7ad31f8861c6"),
    ({"a": [[], {}, [[]], [{}], ""]}, "bd41fb0a5a40cec9887cf756ba608590"),
    (
        {"zeros": [0, 0.0, -0.0], "tiny": 5e-324, "subnormal": 1e-320, "largest": 1.7976931348623157e308},
        "a95a01c06bb3568f018c9097310e1d4d",
    ),
    ({"k" * 70: "a long key", "é": "日本", "🍎": "\0"}, "bc83e3edfd3783e50f2cf360010d47d9"),
    ({"long": [7] * 65535, "longer": [7] * 65536}, "92e2132f2661aea8e093bfe2be287729"),
]

SUCCESSORS = [
    (False, 1, "7b9347636d3a5e1a65abfa8504b6af22", {"title": "Apple pie 2"}, "d96318f4fe98fa4ebadfba3fc73a8fca"),
    (True, 4, "726057bcc6e15e22c590d974b85ac7b1", {}, "f2436f8cab5e63443e9c931ac4fb51ec"),
    (False, 5, "f2436f8cab5e63443e9c931ac4fb51ec", {"title": "back again"}, "2aa9cbc3c78b299677f3366baaf8ed2b"),
    (False, 2, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", {"v": "edit of b"}, "3c166621a92791202d962f2ccddae5b6"),
    (True, 0, None, {"left": "over"}, "89b73d667b986a085b351f5921b20077"),
    (False, 3, "abc", {"v": 1}, "bb9d26a2458c1f75a5b5d29dc893427b"),
]

PHOTO = ("photo.png", "image/png", base64.b64decode("wKco4pdbnyeesjaQ+MGCFA=="))
NOTES = ("notes.txt", "text/plain", base64.b64decode("K5bwAmh58Upst47DwUAqhA=="))


def image(name: str, data: bytes) -> Attachment:
    return name, "image/png", hashlib.md5(data, usedforsecurity=False).digest()


ATTACHMENTS = [
    (1, "cb83c756fc71aadcc5f5866e41470a0c", {"title": "pie"}, [PHOTO], "01cd46873c4473c537ff314125b3f9da"),
    (2, "01cd46873c4473c537ff314125b3f9da", {"title": "pie"}, [NOTES, PHOTO], "66573e741eb919e8ba2661414549a438"),
    (
        0,
        None,
        {"k": 1},
        [image("b", b"bbb"), image("a", b"aaa"), image("é", b"")],
        "fff17f2aa3ee849a76e79c260959f6c3",
    ),
]


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_a_first_revision_has_the_id_that_couchdb_gives_it(body: dict[str, Any], expected: str) -> None:
    assert revision_id(False, 0, None, body, []) == expected


@pytest.mark.parametrize(("deleted", "generation", "previous", "body", "expected"), SUCCESSORS)
def test_a_later_revision_has_the_id_that_couchdb_gives_it(
    deleted: bool, generation: int, previous: str | None, body: dict[str, Any], expected: str
) -> None:
    assert revision_id(deleted, generation, previous, body, []) == expected


@pytest.mark.parametrize(("generation", "previous", "body", "attachments", "expected"), ATTACHMENTS)
def test_attachments_count_in_the_order_of_the_document(
    generation: int, previous: str | None, body: dict[str, Any], attachments: list[Attachment], expected: str
) -> None:
    assert revision_id(False, generation, previous, body, attachments) == expected


def test_a_document_that_comes_back_just_counts_its_attachments() -> None:
    attachments = [image("b", b"bbb"), image("a", b"aaa")]
    tombstone = "6adbc246fd71cdc0c343395e90d40b7a"
    found = revision_id(False, 2, tombstone, {"k": 2}, attachments, revives=True)
    assert found == "6046ebc3ce5b642f138a873b0c178fdb"


def test_an_integer_longer_than_couchdb_takes_still_has_an_id() -> None:
    assert len(revision_id(False, 0, None, {"n": 2**2048}, [])) == 32


@pytest.mark.parametrize(
    ("value", "read"), [(5e-324, 0.0), (-5e-324, -0.0), (-0.0, -0.0), (1e-323, 1e-323), (1.5, 1.5), (0.0, 0.0)]
)
def test_a_number_is_normalized_to_what_couchdb_reads(value: float, read: float) -> None:
    assert math.copysign(1, normalize_number(value)) == math.copysign(1, read)
    assert normalize_number(value) == read
