"""Map and reduce functions against a real CouchDB, which ``COUCHMODEL_TEST_URL`` names: both give the same rows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from couchmodel._embedded.javascript.design_schema import check_design, check_functions
from couchmodel._embedded.javascript.engine import open_mapper, open_reducer
from couchmodel.errors import ResponseError
from tests.embedded.oracle import Call, fresh_database, needs_oracle

pytestmark = needs_oracle

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "a", "n": 1, "tags": ["x", "y"], "o": {"p": {"q": [1, {"r": None}]}}, "s": "Grüße, 世界 💥"},
    {"_id": "b", "n": -2.5, "tags": [], "o": {}, "s": "", "2": "two", "10": "ten", "1": "one"},
    {
        "_id": "c",
        "n": 1e21,
        "big": 12345678901234567890,
        "s": 'quo"te\\slash\n\u2028',
        "o": {"__proto__": 5, "x": {"__proto__": {"y": 1}}},
        "toJSON": 1,
    },
    {"_id": "d", "n": None, "constructor": "x", "length": 3, "hasOwnProperty": False},
]

BODIES = [
    "emit(doc)", "emit(doc._id, doc)", "emit(doc.n, doc.s)", "emit(doc.tags, doc.o)", "emit(doc.big)", "emit()",
    "emit(undefined, undefined)", "emit([undefined, function () {}, NaN, 1 / 0, -0])", "emit({a: undefined, b: NaN})",
    "emit(new Date(0), new Date(NaN))", "emit(new Error('x'), new TypeError('y'))", "emit(/x/g, new Map([[1, 2]]))",
    "emit(new String('x'), [new Number(1), new Boolean(false), Object('y')])",
    "emit({toJSON: function () { return 7 }})", "emit(doc.o.y, doc.o.x)", "emit(doc.o && doc.o.x && doc.o.x.y)",
    "emit('\\ud83d', '\\udca5' + '\\ud83d\\udca5')", "emit(1e21, [1e-7, 0.1 + 0.2, 1.0, 9007199254740993])",
    "for (var k in doc) emit(k)", "emit(Object.keys(doc))", "emit(JSON.stringify(doc), toJSON(doc.o))",
    "doc.tags.forEach(function (t) { emit(t) })", "doc.tags.push('z'); emit(1)", "doc.n = 5; emit(doc.n)",
    "'use strict'; doc.n = 5; emit(doc.n)", "delete doc.n; emit(doc.n)", "doc.o.p.q.length = 0; emit(doc.o)",
    "emit(doc.tags instanceof Array, [doc instanceof Object, [] instanceof Array, Array.isArray(doc.tags)])",
    "emit(isArray(doc.tags), [isArray([]), isArray('x'), isArray({length: 1})])",
    "emit(doc.constructor === Object, ({}).constructor === Object)", "emit(typeof doc.hasOwnProperty)",
    "emit(sum([1, 2]), [sum([]), sum(['a', 1]), sum({a: 1, b: 2}), sum('123')])", "log(doc); log('x'); emit(1)",
    "emit([typeof require, typeof emit, typeof log, typeof index, typeof start, typeof getRow, typeof registerType])",
    "emit(['Promise', 'Proxy', 'ArrayBuffer', 'Uint8Array', 'WeakRef', 'Iterator'].map(n => typeof globalThis[n]))",
    "emit(['Reflect', 'Symbol', 'Map', 'WeakMap', 'BigInt', 'console', 'Intl'].map(n => typeof globalThis[n]))",
    "emit(['normalize', 'localeCompare', 'at', 'padStart', 'replaceAll', 'isWellFormed'].map(n => typeof ''[n]))",
    "emit([typeof [].at, typeof [].findLast, typeof [].toSorted, typeof Object.groupBy, typeof new Set().union])",
    "emit([typeof Math.f16round, typeof JSON.rawJSON, typeof RegExp.escape])",
    "emit(eval('1 + 1'), new Function('return 3')())", "emit([...'a💥'], {...doc.o})",
    "let {n, ...rest} = doc; emit(n)",
    "emit(doc.o?.p?.q ?? 'none')", "emit(`${doc._id}`)", "emit([3, 1, 2].sort(), ['b', 'a', 'B'].sort())",
    "emit([10, 9, 1].sort())", "emit('x'.replace(/(?<y>x)/, '$<y>$<y>'), 'aBc'.match(/b/i).index)",
    "emit(new Date(Date.UTC(2020, 1, 30)).toISOString())", "emit(parseInt('08'), [parseFloat('1e3x'), Number('')])",
    "emit(encodeURIComponent('ä/ '), escape('ä'))", "emit(String(doc), [String([1, [2]]), '' + null])",
    "emit([0.1.toFixed(20), (255).toString(16), 1e21 + '', (25).toString(36)])",
    "emit(1); throw 'x'", "throw new Error('x')", "throw {forbidden: 'x'}", "throw ['error', 'a', 'b']", "none.at.all",
    "emit(1n)", "var a = []; a[0] = a; emit(a)", "throw 'fatal_error'", "throw ['fatal', 'mine', 'why']", "throw null",
    "x = (typeof x === 'undefined' ? 0 : x) + 1; emit(1)",
    "Object.prototype.y = 1; emit(doc.y, {}.y)", "emit(this === globalThis, typeof this)",
    "emit(require('views/lib/a').x, require('views/lib/deep/b').y)", "emit(require('views/lib/none'))",
    "emit(require('lib/a'))", "emit(require('views/lib/circular').z)", "emit(typeof require('views/lib/empty'))",
    "emit(require('views/lib/bad'))", "emit(require('views/lib/deep'))",
]  # fmt: skip

LIB = {
    "a": "exports.x = 1; exports.id = module.id",
    "deep": {"b": "exports.y = require('../a').x + require('./c').z", "c": "exports.z = 41"},
    "circular": "var other = require('./circular'); exports.z = typeof other.z",
    "empty": "",
    "bad": "exports.x = (",
}

SOURCES = [
    *(f"function (doc) {{ {body} }}" for body in BODIES),
    "doc => emit(doc.n)", "(doc) => { emit(doc.n) };", "// first\nfunction (doc) { emit(1) } // last",
    "var f = function (doc) { emit(1) }; f", "function add(n) { return n + 1 }\nfunction (doc) { emit(add(1)) }",
    "'use strict'; function (doc) { emit(typeof this) }", "(class {})", "var n = 0; function (doc) { emit(++n > 0) }",
    "function named(doc) {}", "async function (doc) {}", "async (doc) => { emit(1) }", "(async function (doc) {})",
    "function* (doc) {}", "(function* (doc) { emit(1) })", "class A {}", "{ function (doc) {} }", "function (doc) {",
    "function (doc{ emit(", "5", "{}", "null", "function (doc) { emit(1)) }", "throw 'x'", "return function (doc) {}",
    "if (true) function (doc) {}", "emit(1)", "emit",
]  # fmt: skip


@pytest.fixture(scope="module")
def call() -> Iterator[Call]:
    with fresh_database("scripts") as send:
        send("POST", "/_bulk_docs", {"docs": DOCUMENTS})
        yield send


def rows(design: dict[str, Any], documents: list[dict[str, Any]]) -> Any:
    """What the embedded store makes of it, or the word for its error."""
    try:
        check_design(design)
        check_functions(design["views"])
        mapped = open_mapper(design).map([json.dumps(document).encode() for document in documents])
    except ResponseError as error:
        return error.code if error.code != "compilation_error" else error.reason
    emitted = zip(documents, mapped, strict=True)
    return sorted(
        repr((document["_id"], key, json.loads(value))) for document, views in emitted for key, value in views[0]
    )


def rows_of_couchdb(call: Call, design: dict[str, Any]) -> Any:
    id = f"/_design/{abs(hash(json.dumps(design)))}"
    answer = call("PUT", id, design)
    if "ok" in answer:
        answer = call("GET", f"{id}/_view/it")
    if "error" in answer:
        return answer["error"] if answer["error"] != "compilation_error" else answer["reason"]
    return sorted(repr((row["id"], row["key"], row["value"])) for row in answer["rows"])


@pytest.mark.parametrize("source", SOURCES)
def test_a_map_function_gives_the_rows_that_it_gives_in_couchdb(call: Call, source: str) -> None:
    design = {"views": {"lib": LIB, "it": {"map": source}}}
    documents = [row["doc"] for row in call("GET", "/_all_docs?include_docs=true")["rows"] if row["id"][0] != "_"]
    assert rows(design, documents) == rows_of_couchdb(call, design)


@pytest.mark.parametrize(
    "body",
    [
        "return [keys, values, rereduce]", "return sum(values)", "return values.length", "return undefined",
        "return NaN", "throw 'x'", "return values instanceof Array", "values.push(1); return values.length",
        "return [typeof require, typeof emit]", "return new Date(0)", "return new Error('x')",
        "return 'x'.repeat(5000)",
        "return keys && keys[0]", "return '\\ud800'", "throw 'fatal_error'",
    ],
)  # fmt: skip
def test_a_reduce_function_gives_what_it_gives_in_couchdb(call: Call, body: str) -> None:
    source = f"function (keys, values, rereduce) {{ {body} }}"
    id = f"/_design/{abs(hash(source))}"
    call(
        "PUT", id, {"views": {"it": {"map": "function (doc) { if (doc._id == 'a') emit(doc.n, 2) }", "reduce": source}}}
    )
    answer = call("GET", f"{id}/_view/it")
    try:
        reducer = open_reducer({}, source)
        # CouchDB reduces again what it has reduced.
        reduced: Any = json.loads(reducer.rereduce([reducer.reduce([(1, "a")], [b"2"])]))
    except ResponseError as error:
        reduced = error.code
    row = answer["rows"][0] if "rows" in answer else answer
    assert reduced == (row["error"] if "error" in row else row["value"])
