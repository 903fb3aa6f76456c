"""Revisions are read, written and ordered as CouchDB 3.5.0 does it; the tables were asked of one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from couchmodel._wire.revisions import Rev, ancestry, revisions_member
from couchmodel.errors import BadRequestError

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"3-{A}", f"3-{A}"),
        ("1-abc", "1-abc"),
        ("9-", "9-"),
        ("1-a-b", "1-a-b"),
        ("0-abc", "0-abc"),
        ("+1-abc", "1-abc"),
        ("01-abc", "1-abc"),
        ("1- abc", "1- abc"),
        ("1-é", "1-é"),
        (f"1-{'A' * 32}", f"1-{A}"),
        (f"1-+{'a' * 31}", f"1-0{'a' * 31}"),
        (f"1--{'a' * 31}", "1-f5555555555555555555555555555556"),
        (f"1-{'a' * 33}", f"1-{'a' * 33}"),
        ("1-abcdefghijklmnop", "1-6162636465666768696a6b6c6d6e6f70"),
        ("1-日日日日日x", "1-e697a5e697a5e697a5e697a5e697a578"),
        ("99999999999999999999999-abc", "99999999999999999999999-abc"),
    ],
)
def test_a_revision_is_shown_in_couchdbs_spelling(text: str, shown: str) -> None:
    assert str(Rev.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "abc", "-abc", "abc-1", "-1-abc", "--1-abc", " 1-abc", "1 -abc", "\u0661-abc", "1_0-abc", "+-abc"),
        *(f"1-{'g' * 32}", "1-" + "é" * 16, "1-" + "\u0661" * 16, "1-\ud800", "9" * 5000 + "-a"),
        *(None, 5, True, 1.5, [], {}, ["1-abc"], b"1-abc"),
    ],
)
def test_what_couchdb_does_not_take_for_a_revision_is_refused(text: object) -> None:
    with pytest.raises(BadRequestError) as caught:
        Rev.parse(text)
    assert (caught.value.code, caught.value.reason) == ("bad_request", "Invalid rev format")


def test_revisions_rank_by_generation_and_then_by_the_bytes_of_the_digest() -> None:
    ordered = ["1-zz", "2-", f"2-{'0' * 32}", "2-Z0", f"2-{'5a' * 16}", "2-a", f"2-{'b' * 32}", "2-é", "10-a"]
    revs = [Rev.parse(text) for text in ordered]
    assert sorted(set(revs), key=lambda rev: rev.rank) == revs


@given(st.integers(0, 10**6), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_revision_survives_its_own_text(generation: int, digest: str) -> None:
    try:
        rev = Rev.parse(f"{generation}-{digest}")
    except BadRequestError:
        return
    assert Rev.parse(str(rev)) == rev


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({}, []),
        ({"_id": "x", "v": 1}, []),
        ({"_rev": f"2-{A}"}, [f"2-{A}"]),
        ({"_revisions": {"start": 2, "ids": [A, "x"]}}, [f"2-{A}", "1-x"]),
        ({"_rev": f"2-{A}", "_revisions": {"start": 2, "ids": [A, "x"]}}, [f"2-{A}", "1-x"]),
        ({"_rev": "2-z", "_revisions": {"start": 2, "ids": ["x", "y"]}}, ["2-x", "1-y"]),
        ({"_revisions": {"start": 2, "ids": ["x", "y"]}, "_rev": "nonsense"}, ["2-x", "1-y"]),
        ({"_revisions": {"start": 0, "ids": []}, "_rev": "2-x"}, ["2-x"]),
        ({"_revisions": {"start": 12, "ids": ["A" * 32]}}, [f"12-{A}"]),
    ],
)
def test_the_ancestry_of_a_document_is_its_revisions_and_else_its_rev(
    document: dict[str, Any], path: list[str]
) -> None:
    assert [*map(str, ancestry(document))] == path


@pytest.mark.parametrize(
    ("revisions", "reason"),
    [
        ({}, "_revisions.start isn't an integer."),
        ({"start": 2.0, "ids": ["x"]}, "_revisions.start isn't an integer."),
        ({"start": "2", "ids": ["x"]}, "_revisions.start isn't an integer."),
        ({"start": True, "ids": ["x"]}, "_revisions.start isn't an integer."),
        ({"start": 2}, "_revisions.ids isn't a array."),
        ({"start": 2, "ids": "x"}, "_revisions.ids isn't a array."),
        ({"start": 2, "ids": ["x", None]}, "RevId isn't a string"),
        ({"start": 2, "ids": [1]}, "RevId isn't a string"),
        ({"start": 2, "ids": ["g" * 32]}, "RevId isn't a valid hexadecimal"),
        ({"start": 2, "ids": []}, "_revisions.ids is empty."),
        (None, "Bad special document member: _revisions"),
        ([], "Bad special document member: _revisions"),
    ],
)
def test_revisions_that_make_no_sense_are_refused(revisions: object, reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        ancestry({"_rev": f"1-{A}", "_revisions": revisions})
    assert (caught.value.code, caught.value.reason) == ("doc_validation", reason)


def test_a_rev_in_front_of_the_revisions_has_to_be_one() -> None:
    with pytest.raises(BadRequestError, match="Invalid rev format"):
        ancestry({"_rev": "nonsense", "_revisions": {"start": 1, "ids": [A]}})


def test_a_path_becomes_the_member_that_it_was_read_from() -> None:
    member = {"start": 3, "ids": [C, B, A]}
    assert revisions_member(ancestry({"_revisions": member})) == member
