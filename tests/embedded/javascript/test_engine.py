"""Map and reduce functions, and what they cannot do."""

import json
from typing import Any

import pytest

from couchmodel._embedded.javascript.engine import LIMITS, check_function, open_mapper, open_reducer
from couchmodel.errors import ResponseError, ServerError


def rows(source: str, *documents: dict[str, Any], **lib: Any) -> list[list[tuple[Any, Any]]]:
    """What a map function emits for each document."""
    mapper = open_mapper({"views": {"lib": lib, "view": {"map": source}}})
    mapped = mapper.map([json.dumps(document).encode() for document in documents])
    return [[(key, json.loads(value)) for key, value in views[0]] for views in mapped]


def test_a_mapper_gives_the_rows_of_each_document_and_view() -> None:
    mapper = open_mapper(
        {
            "views": {
                "lib": {"unused": "exports.x = 1"},
                "first": {"map": "function (doc) { emit(doc._id, doc.n); emit([doc.n], {a: 1}); }"},
                "second": {"map": "(doc) => { if (doc.n > 1) emit(null, null); }", "reduce": "_count"},
            }
        }
    )
    assert mapper.map([b'{"_id":"a","n":1}', b'{"_id":"b","n":2}']) == [
        [[("a", b"1"), ([1], b'{"a":1}')], []],
        [[("b", b"2"), ([2], b'{"a":1}')], [(None, b"null")]],
    ]


@pytest.mark.parametrize(
    ("source", "emitted"),
    [
        ("function (doc) { emit(undefined, undefined) }", [(None, None)]),
        ("function (doc) { emit(NaN, function () {}) }", [(None, None)]),
        ("function (doc) { emit(new Date(0), new Error('no')) }",
         [("1970-01-01T00:00:00.000Z", {"error": "Error", "message": "no"})]),
        ("function (doc) { emit('\\ud800', 'a\\udc00\\\\ud800') }", [("\ufffd", "a\ufffd\\ud800")]),
        ("function (doc) { emit(sum([1, 2]), [isArray(doc.tags), isArray(doc), toJSON(doc.tags)]) }",
         [(3, [True, False, '["x"]'])]),
        ("function (doc) { doc.tags.push('y'); emit(1) }", []),
        ("function (doc) { emit(1); throw 'anything' }", []),
        ("function (doc) { doc.tags = 1; emit(doc.tags) }", [(["x"], None)]),
        ("function (doc) { emit(doc.tags instanceof Array, [[] instanceof Array, doc instanceof Object]) }",
         [(False, [True, False])]),
        ("function (doc) { emit([typeof Promise, typeof Proxy, typeof ArrayBuffer, typeof ''.normalize]) }",
         [(["undefined"] * 4, None)]),
        ("function (doc) { emit([typeof std, typeof os, typeof print, typeof process, typeof console]) }",
         [(["undefined"] * 5, None)]),
        ("var add = function (n) { return n + 1 }\nfunction (doc) { emit(add(1)) }", [(2, None)]),
        ("'use strict'; function (doc) { emit(1) };", [(1, None)]),
    ],
)  # fmt: skip
def test_a_map_function_sees_and_emits_what_it_does_in_couchdb(source: str, emitted: list[Any]) -> None:
    assert rows(source, {"_id": "a", "tags": ["x"]}) == [emitted]


@pytest.mark.parametrize("length", [1, 1000, 100_000])
def test_a_value_may_be_long(length: int) -> None:
    source = "function (doc) { var text = ''; for (var i = 0; i < doc.length; i++) text += 'é💥'; emit(text, text) }"
    assert rows(source, {"_id": "a", "length": length}) == [[("é💥" * length, "é💥" * length)]]


def test_a_map_function_requires_modules_of_the_views() -> None:
    source = "function (doc) { emit(require('views/lib/text').shout(doc._id), require('views/lib/deep/one').two) }"
    lib = {
        "text": "exports.shout = function (s) { return s.toUpperCase() }",
        "deep": {"one": "exports.two = require('./two').n + require('../text').shout('b')", "two": "exports.n = 2"},
    }
    assert rows(source, {"_id": "a"}, **lib) == [[("A", "2B")]]


def test_a_module_that_is_not_there_is_an_exception() -> None:
    assert rows("function (doc) { require('views/lib/none'); emit(1) }", {"_id": "a"}) == [[]]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("function named(doc) {}", "Expression does not eval to a function. (function named(doc) {})"),
        ("async (doc) => {}", "Expression does not eval to a function. (async (doc) => {})"),
        ("async function (doc) {}", "SyntaxError: function name expected (async function (doc) {})"),
        ("function* (doc) {}", "SyntaxError: function name expected (function* (doc) {})"),
        ("class A {}", "Expression does not eval to a function. (class A {})"),
        ("{ function (doc) {} }", "SyntaxError: function name expected ({ function (doc) {} })"),
        ("function (doc) {", "SyntaxError: unexpected token in expression: '' (function (doc) {)"),
        ("5", "Expression does not eval to a function. (5)"),
    ],
)
def test_what_is_no_function_does_not_compile(source: str, reason: str) -> None:
    with pytest.raises(ResponseError) as refused:
        check_function(source)
    assert (refused.value.status, refused.value.code, refused.value.reason) == (400, "compilation_error", reason)


@pytest.mark.parametrize(
    ("source", "code", "reason"),
    [
        ("function (doc) { throw 'fatal_error' }", "map_runtime_error", "function raised 'fatal_error'"),
        ("function (doc) { throw ['fatal', 'mine', 'why'] }", "mine", "why"),
        ("function (doc) { var a = {}; a.a = a; emit(a) }", "TypeError", "{[]}"),
        ("function (doc) { { let a = []; for (let i = 0; i < 999; i++) a = [a]; emit(a) } }", "invalid_json", None),
        ("function (doc) { (function f() { f() })() }", "os_process_error", "{exit_status,1}"),
        ("function (doc) { var a = []; while (1) a.push('x'.repeat(9999) + a.length) }", "os_process_error",
         "{exit_status,1}"),
        ("function (doc) { emit('x'.repeat(9e7)) }", "os_process_error", "{exit_status,1}"),
    ],
)  # fmt: skip
def test_some_errors_are_the_whole_views(source: str, code: str, reason: str | None) -> None:
    mapper = open_mapper({"views": {"view": {"map": source.replace("{", "{ if (doc.bad)", 1)}}})
    with pytest.raises(ResponseError) as failed:
        mapper.map([b'{"_id":"a"}', b'{"_id":"b","bad":true}'])
    assert (failed.value.status, failed.value.code) == (500, code)
    assert reason in (None, failed.value.reason)
    assert mapper.map([b'{"_id":"a"}']) == [[[]]]


@pytest.mark.parametrize(
    "source", ["while (1);", "try { while (1); } catch (e) {}", "/(a+)+$/.test('a'.repeat(60) + 'b')"]
)
def test_a_function_that_runs_for_ever_is_ended(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "call_seconds", 0.1)
    mapper = open_mapper({"views": {"view": {"map": f"function (doc) {{ if (doc.bad) {{ {source} }} emit(1) }}"}}})
    with pytest.raises(ServerError, match=r"OS process timed out\."):
        mapper.map([b'{"_id":"a","bad":1}'])
    assert mapper.map([b'{"_id":"a"}']) == [[[(1, b"null")]]]


def test_what_a_function_breaks_stays_broken_for_its_own_design_document_only() -> None:
    source = """function (doc) {
        JSON.stringify = JSON.parse = null; Array.prototype.push = Array.isArray = Object.freeze = null;
        Array.prototype[Symbol.iterator] = null; emit = (function (old) { return old })(emit); leaked = 1; emit(leaked);
    }"""
    assert rows(source, {"_id": "a"}, {"_id": "b"}) == [[(1, None)], [(1, None)]]
    assert rows("function (doc) { emit([typeof leaked, [].push(1)]) }", {"_id": "a"}) == [[(["undefined", 1], None)]]


def test_a_function_logs_lines_of_its_own_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rows(r"function () { log('a\nERROR: b') }", {"_id": "a"})
    assert caplog.messages == [r"'a\nERROR: b'"]


def test_a_function_that_throws_in_spite_of_all_objects_is_told_as_it_is() -> None:
    mend = "Object.prototype.toJSON = function () { return {code: 'x', reason: 'y', status: 99999} }"
    with pytest.raises(ResponseError) as failed:
        rows(f"function () {{ {mend}; throw ['fatal', 'mine', 'why'] }}", {"_id": "a"})
    assert (failed.value.status, failed.value.code, failed.value.reason) == (500, "mine", "why")


def test_a_reducer_reduces_and_reduces_again() -> None:
    reducer = open_reducer({}, "function (keys, values, rereduce) { return [keys, values, rereduce] }")
    assert reducer.reduce([("k", "a"), ("k", "b")], [b"1", b"2"]) == b'[[["k","a"],["k","b"]],[1,2],false]'
    assert reducer.rereduce([b"1", b'{"n":2}']) == b'[null,[1,{"n":2}],true]'


def test_a_reduce_function_that_throws_gives_null() -> None:
    assert open_reducer({}, "function () { throw 'no' }").reduce([("k", "a")], [b"1"]) == b"null"


@pytest.mark.parametrize(("rows", "size"), [(1, 31), (2, 45)])
def test_a_reduction_must_be_smaller_than_what_it_is_made_of(rows: int, size: int) -> None:
    reducer = open_reducer({}, "function (keys, values) { return 'x'.repeat(5000) }")
    with pytest.raises(ResponseError, match=f"input size: {size} output size: 5004") as refused:
        reducer.reduce([("a", "a")] * rows, [b"1"] * rows)
    assert refused.value.code == "reduce_overflow_error"
