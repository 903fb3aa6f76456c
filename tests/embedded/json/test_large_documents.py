"""A large document is read piece by piece, and is the document that it is when it is read at once."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from couchmodel._embedded import limits
from couchmodel._embedded.documents.incoming import parse_document, read_document
from couchmodel._embedded.json.decode import decode_small
from couchmodel._embedded.rules.revision_ids import revision_id
from couchmodel.errors import BadRequestError, ContentTooLargeError

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.lists(st.integers(0, 300)) | st.dictionaries(st.text(), inner)
)
names = st.text().filter(lambda name: not name.startswith("_"))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JSON_PIECE", 12)
    monkeypatch.setattr(limits, "LARGE_JSON", 0)


def check(text: str) -> None:
    """Compare the two ways to read a document."""
    large, small = read_document(text.encode()), parse_document(decode_small(text.encode()))
    assert (large.id, large.path, large.deleted, large.attachments) == (
        small.id,
        small.path,
        small.deleted,
        small.attachments,
    )
    assert large.text == small.text
    assert revision_id(False, 0, None, large.content, []) == revision_id(False, 0, None, small.content, [])


@settings(max_examples=100)
@given(st.dictionaries(names, values), st.booleans())
def test_its_text_and_its_revision_are_the_same(document: dict[str, Any], ascii_only: bool) -> None:
    check(json.dumps(document, ensure_ascii=ascii_only))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[%s1,2]}' % ("1," * 65_533),
        '{"a":[%s1,2]}' % ("1," * 65_534),
        '{"a":[%s256]}' % ("1," * 100),
        '{"a":[%strue]}' % ("1," * 100),
        '{"a":[[],[[[[[[[[[[[]]]]]]]]]]],{},"",{"":{"":[]}}]}',
        '{"a":[1e20,1e16,-0.0,5e-324,1e-6,"1e20"],"b":{"1e20":1.0,"c":12345678901234567890}}',
        '{"_id":"x","a":[1,2,3,4,5,6,7,8],"_rev":"1-%s","_deleted":true,"b":1}' % ("a" * 32),
        '{{"_revisions":{{"start":3,"ids":["{}","{}","{}"]}},"_rev":"7-x"}}'.format("a" * 32, "b" * 32, "c" * 32),
        '{"_replication_state":"triggered","a":"xxxxxxxxxxxxxxx","_conflicts":["1-a","1-b","1-c"]}',
        '{"_attachments":{"a":{"stub":true,"revpos":1},"b":"xxxxxxxxxxxxxxxxxxxxxx"}}',
    ],
)
def test_so_are_its_special_members_and_what_is_spelled_or_digested_specially(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[1,2,3,4,5,6,7,8,9],"b":"xxxxxxxxxxxxxxxxxxx","a":"yyyyyyyyyyyyyyyyyyyy"}',
        '{"a":1,"b":"xxxxxxxxxxxxxxxxxxx","a":1,"c":["xxxxxxxxxxxxxxxxxxxx"],"a":{"a":[1,2,3,4,5,6,7,8,9,10]}}',
        '{"o":{"a":{"a":1,"b":"xxxxxxxxxxxxxxxxxx","a":2},"b":"xxxxxxxxxxxxxxxxxxx","a":[1,2,3,4,5,6,7,8]},"z":1}',
        '{"o":{"a":{"a":1,"b":"xxxxxxxxxxxxxxxxxx","a":2},"b":"xxxxxxxxxxxxxxxxxxx"},"o":[{"a":"xxxxxxxxxxxxxxx"}]}',
        '{"_id":"x","a":"xxxxxxxxxxxxxxxxxxxxxxx","_id":"y","_deleted":true,"b":"xxxxxxxxxxxx","_deleted":false}',
    ],
)
def test_the_last_value_of_a_key_counts_where_it_stands(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[1,2,3,4,5,6,7,8,9,10,11,12,1e400]}',
        '{"a":[1,2,3,4,5,6,7,8,9,10,11,12}',
        '{"a":["xxxxxxxxxxxxxxxxxx"],"a":["xxxxxxxxxxxxxxxxxx"],"b":["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]',
        '{"_unknown":[1,2,3,4,5,6,7,8,9,10,11,12]}',
        '{"a":["xxxxxxxxxxxxxxxxxxxxxxxxx"],"_deleted":1}',
        '{"a":%s}' % ("[" * 300 + "]" * 300),
        '["xxxxxxxxxxxxxxxxxxxxxxx"]',
        '"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"',
    ],
)
def test_what_is_refused_is_refused_in_the_same_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadRequestError) as large:
        read_document(text.encode())
    monkeypatch.setattr(limits, "LARGE_JSON", len(text))
    with pytest.raises(BadRequestError) as small:
        read_document(text.encode())
    assert (large.value.code, large.value.reason) == (small.value.code, small.value.reason)


@pytest.mark.parametrize(("longer", "refused"), [(0, False), (1, True)])
def test_one_that_is_larger_than_it_may_be_is_refused(
    longer: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DOCUMENT_BYTES", 1000)
    text = '{"_id":"x", "a": [ %s ] }' % ('"%s"' % ("x" * (1000 - len('{"a":[""]}') + longer)))
    if refused:
        with pytest.raises(ContentTooLargeError) as caught:
            read_document(text.encode())
        assert (caught.value.code, caught.value.reason) == ("document_too_large", "x")
    else:
        assert len(read_document(text.encode()).text) == 1000


def test_one_that_repeats_a_name_may_not_have_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OWN_DOCUMENT_VALUES", 20)
    text = json.dumps({"a": [1] * 20, "b": "x" * 15})[:-1] + ',"a":1}'
    with pytest.raises(ContentTooLargeError, match="a document that repeats a name may have 20 values at most"):
        read_document(text.encode())
