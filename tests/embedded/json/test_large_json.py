"""Large JSON is cut, and means what it means when it is parsed at once."""

import json
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from couchmodel._embedded import limits
from couchmodel._embedded.json.cutter import Sink, parse_into
from couchmodel._embedded.json.decode import decode_small
from couchmodel._embedded.json.values import Skipped, decode_large, decode_stored
from couchmodel._embedded.json.writer import write
from couchmodel._embedded.mango.selector import compile_selector
from couchmodel._wire.messages import decode, encode

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.fixture(autouse=True, params=[12, 20])
def small_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JSON_PIECE", request.param)


@settings(max_examples=100)
@given(st.dictionaries(st.text(), json_values) | json_values, st.sampled_from([None, 1]), st.booleans())
def test_a_text_is_read_as_it_is_read_at_once(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert decode_large(text) == decode_small(text)


joints = st.recursive(
    st.sampled_from(['},{"a"', '"},{"a":', "[", "}", "", 1]),
    lambda inner: st.lists(st.fixed_dictionaries({"a": inner})) | st.fixed_dictionaries({"a": inner, "b": inner}),
)


@given(st.fixed_dictionaries({"docs": st.lists(st.fixed_dictionaries({"a": joints}), min_size=5)}))
def test_objects_that_begin_alike_are_told_apart_wherever_they_stand(value: Any) -> None:
    text = json.dumps(value, separators=(",", ":")).encode()
    assert decode_large(text) == value


deep_values = st.builds(
    lambda value, signs, rest: reduce(
        lambda inner, sign: [inner, *rest] if sign else {"a": inner, "b": rest}, signs, value
    ),
    json_values,
    st.lists(st.booleans(), min_size=10, max_size=40),
    st.sampled_from([[], [1], ["]}"]]),
)


@settings(max_examples=50)
@given(st.lists(deep_values, max_size=5), st.sampled_from([50, 100, 200]))
def test_deep_values_are_read_as_they_are_read_at_once(values: list[Any], piece: int) -> None:
    text = json.dumps({"a": values, "b": 1}).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "JSON_PIECE", piece)
        assert decode_large(text) == decode_small(text)


class _Entered(Skipped):
    """A sink that counts the values that are read in pieces."""

    count = 0

    def enter(self, name: str | None, sign: bytes, place: int) -> Sink:
        self.count += 1
        return self


@pytest.mark.parametrize("depth", [5, 15, 40])
def test_a_value_is_read_in_pieces_only_if_it_is_long_and_not_because_it_is_deep(
    depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JSON_PIECE", 200)
    deep, entered = b"[" * depth + b"]" * depth, _Entered()
    parse_into(b'{"a":[%b]}' % b",".join([deep] * 50), entered)
    assert entered.count == 1


@pytest.mark.parametrize("broken", [b'{"a":1}}', b'{"a":1]', b'{"a":1},', b'{"a"', b'{"a":"},{"a":1}'])
def test_a_broken_object_among_others_that_begin_alike_is_refused(broken: bytes) -> None:
    text = b'{"docs":[%b]}' % b",".join([*[b'{"a":1}'] * 8, broken, *[b'{"a":1}'] * 8])
    with pytest.raises(ValueError):
        decode_large(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[1,2]}',
        ' { "a" : [ 1 , 2 ] , "b" : [ ] , "a" : { } } ',
        "{}",
        '{"docs":[]}',
        "[]",
        "1",
        '{"a":"\\u00e9"}',
        '{"a":"%s"}' % ("\\u00e9" * 20),
        '{"a":["%s"]}' % ("\\ud83d\\ude00\\\\ud83d\\\\" * 20),
        '{{"{}":["{}"]}}'.format("é" * 100, "😀é" * 100),
        '"%s"' % ("é\\n" * 100),
        "[{}1,[]{}]".format(" " * 100, " " * 100),
        json.dumps({"a": [{"n": n} for n in range(100)]}),
    ],
)
def test_white_space_and_the_empty_do_no_harm(text: str) -> None:
    assert decode_large(text.encode()) == decode(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"a"',
        b'{"a":',
        b'{"a":[',
        b'{"a":[1',
        b'{"a":[1,',
        b'{"a":[1,]}',
        b'{"a":[1]',
        b'{"a":[1]]',
        b'{"a":[1 2]}',
        b'{"a":1,}',
        b'{"a":1}x',
        b"{1:2}",
        b'{"a":NaN}',
        b'{"a":[NaN]}',
        b'{"a":[Infinity]}',
        b'{"a":["\\ud800"]}',
        b'{"a":"\xff"}',
        b'{"a":[%s]}' % (b"[" * 5000),
        b'{"a":[%s1%s]}' % (b"[" * 900, b"]" * 900),
        b'{"a" 1}',
        b"\xef\xbb\xbf{}",
        b'{"a":[\x00]}',
        b'{"a":[1],}',
        b'{"a":[1]"b":[1]}',
        b'{"a":[1],[1]}',
        b'{"a":1[1]}',
        b'{"a" [1]}',
        b'{"a":[[1][1]]}',
        b'{"a":[[1],,[1]]}',
        b'{"a":[,[1]]}',
        b'{"a":[[1],]}',
        b'{"a":[[1]}]',
        b'{"a":[[1}]}',
        b'{"a":[\f[1]]}',
        b'"' + b"x" * 100,
        b'"' + b"\x80" * 100 + b'"',
        b'["%s"]' % (b"\\ud800" * 10),
        b'["%s\\"]' % (b"x" * 100),
        b'{"a":["%s"1]}' % (b"x" * 100),
        b'{"%s" 1}' % (b"x" * 100),
        b"[%s,1]" % (b" " * 100),
        b"[1%s,]" % (b" " * 100),
        b"[1%s" % (b" " * 100),
    ],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        decode(text)
    with pytest.raises(ValueError):
        decode_large(text)


@pytest.mark.parametrize("read", [decode_small, decode_large])
@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('{"a":1,"b":2,"a":3}', '{"b":2,"a":3}'),
        ('{"a":[{"x":1,"y":2,"x":3}],"b":[]}', '{"a":[{"y":2,"x":3}],"b":[]}'),
        ('{"a":{"x":[1],"y":2,"x":{}}}', '{"a":{"y":2,"x":{}}}'),
        ('{"a":"\\u0022","a":"\\""}', '{"a":"\\""}'),
        ('{"a":"\\u0022","\\u0061":1}', '{"a":1}'),
        ('{"a":1,"b":{"a":1,"a":1},"a":2}', '{"b":{"a":1},"a":2}'),
    ],
)
def test_the_last_value_of_a_key_counts_where_it_stands(read: Callable[[bytes], Any], text: str, same: str) -> None:
    assert json.dumps(read(text.encode())) == json.dumps(json.loads(same))


@pytest.mark.parametrize("length", [0, 99, 100, 101, 200, 1001])
def test_a_long_array_is_written_as_it_is_written_at_once(length: int) -> None:
    value = {"a": [*range(length)], 'b"': [[]] * length, "c": {"d": [1.5] * length}, "e": "é"}
    assert write(value) == encode(value)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from("abcd"), json_values), st.sets(st.sampled_from("abcd")))
def test_of_a_large_document_only_what_is_wanted_is_kept(document: dict[str, Any], wanted: set[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "LARGE_JSON", 0)
        kept = decode_stored(encode(document), wanted)
    assert kept == {name: value for name, value in decode_small(encode(document)).items() if name in wanted}


@pytest.mark.parametrize(
    ("selector", "members"),
    [
        ({}, set()),
        ({"a.b": 1, "c\\.d": {"$gt": 2}}, {"a", "c.d"}),
        ({"$or": [{"a": 1}, {"$nor": [{"b": {"c": 1}}]}], "$not": {"d": {"$elemMatch": {"e": 1}}}}, {"a", "b", "d"}),
        ({"$or": [{"a": 1}, {"$gt": {}}]}, None),
    ],
)
def test_a_selector_says_which_members_it_looks_into(selector: dict[str, Any], members: set[str] | None) -> None:
    assert compile_selector(selector).members == members
