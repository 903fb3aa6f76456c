"""Filter and update functions of design documents."""

import asyncio
import json

import pytest

from couchmodel._embedded.javascript.engine import LIMITS
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Database
from couchmodel.errors import BadRequestError, MethodNotAllowedError, NotFoundError, ResponseError
from tests.engine.requests import call

FILTERS = {
    "big": "function (doc, req) { return doc.n > (req.query.least || 0) }",
    "deleted": "function (doc) { return doc._deleted }",
    "tell": """function (doc, req) {
        var said = [req.method, req.path[1], req.query.a, req.body, req.id, req.userCtx.roles, req.form];
        throw({error: 'told', reason: JSON.stringify([this.x, doc].concat(said))});
    }""",
    "throws": "function () { throw({error: 'odd', reason: 'no reason'}) }",
    "late": "function (doc) { if (doc.bad) throw({error: 'odd', reason: 'too late'}); return true }",
    "odd": "5",
}
VIEWS = {
    "v": {"map": "function (doc) { if (doc.n > 1) emit(1) }"},
    "throws": {"map": "function (doc) { none.at.all }"},
}


@pytest.fixture
async def filled(database: Database) -> Database:
    await call(database, "POST", "_bulk_docs", {"docs": [{"_id": "a", "n": 1}, {"_id": "b", "n": 2}]})
    await call(database, "PUT", "_design/d", {"filters": FILTERS, "views": VIEWS, "x": 7})
    return database


async def changed(database: Database, parameters: str) -> list[str]:
    return [row["id"] for row in (await call(database, "GET", f"_changes?{parameters}"))["results"]]


# --- filters


@pytest.mark.parametrize(
    ("parameters", "ids"),
    [
        ("filter=d/big", ["a", "b"]),
        ("filter=d/big&least=1", ["b"]),
        ("filter=d/big&limit=1", ["a"]),
        ("filter=d/big&style=all_docs", ["a", "b"]),
        ("filter=d/big&descending=true", ["b", "a"]),
        ("filter=d/deleted", []),
        ("filter=_view&view=d/v", ["b"]),
        ("view=d/v", ["a", "b", "_design/d"]),
    ],
)
async def test_a_function_filters_changes(filled: Database, parameters: str, ids: list[str]) -> None:
    assert await changed(filled, parameters) == ids


async def test_a_filter_sees_what_is_deleted(filled: Database) -> None:
    rev = (await call(filled, "GET", "a"))["_rev"]
    await call(filled, "DELETE", f"a?rev={rev}")
    assert await changed(filled, "filter=d/deleted") == ["a"]


async def test_a_filter_is_put_to_each_leaf(filled: Database) -> None:
    rows = [
        {"_id": "b", "_rev": "5-a", "n": 0},
        {"_id": "b", "_rev": "5-b", "n": 3},
        {"_id": "b", "_rev": "5-c", "n": 4},
    ]
    await call(filled, "POST", "_bulk_docs", {"docs": rows, "new_edits": False})
    answer = await call(filled, "GET", "_changes?filter=d/big&style=all_docs&include_docs=true&least=1")
    (row,) = answer["results"]
    assert {change["rev"] for change in row["changes"]} > {"5-b", "5-c"}
    assert "5-a" not in {change["rev"] for change in row["changes"]}
    assert row["doc"]["n"] == 4


@pytest.mark.parametrize(
    ("method", "body", "said"), [("GET", None, '"undefined"'), ("POST", {"p": 1}, '{"p":1}')], ids=["GET", "POST"]
)
async def test_a_filter_sees_the_request(filled: Database, backend: str, method: str, body: object, said: str) -> None:
    with pytest.raises(ResponseError) as told:
        await call(filled, method, "_changes?filter=d/tell&a=b", body)
    assert told.value.status == 500
    rev = (await call(filled, "GET", "a"))["_rev"]
    document = f'{{"_id":"a","_rev":"{rev}","n":1,"_revisions":{{"start":1,"ids":["{rev[2:]}"]}}}}'
    expected = f'[7,{document},"{method}","_changes","b",{said},null,["_admin"],{{}}]'
    # CouchDB may show the error as an Erlang term, in lines.
    assert backend == "live" or told.value.reason == expected


@pytest.mark.parametrize(
    ("parameters", "error", "reason"),
    [
        ("filter=d/none", NotFoundError, "missing json key: none"),
        ("filter=none/none", NotFoundError, "missing"),
        ("filter=_view&view=d/none", NotFoundError, "missing json key: none"),
        ("filter=_view", BadRequestError, "`view` filter parameter is not provided."),
        ("filter=d", BadRequestError, "`filter` must be of the form `designname/filtername`"),
        ("filter=d/", BadRequestError, "`filter` must be of the form `designname/filtername`"),
        ("filter=a/b/c", BadRequestError, "`filter` must be of the form `designname/filtername`"),
    ],
)
async def test_a_filter_that_is_none_is_refused(
    filled: Database, parameters: str, error: type[ResponseError], reason: str
) -> None:
    with pytest.raises(error) as refused:
        await changed(filled, parameters)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ("filter=d/throws", "no reason"),
        ("filter=d/odd", "Expression does not eval to a function"),
        ("filter=_view&view=d/throws", "{[]}"),
    ],
)
async def test_a_filter_that_fails_is_the_requests_failure(filled: Database, parameters: str, reason: str) -> None:
    with pytest.raises(ResponseError) as failed:
        await changed(filled, parameters)
    assert failed.value.status in (400, 500)
    assert reason in failed.value.reason


@pytest.mark.parametrize("feed", ["longpoll", "continuous", "eventsource"])
async def test_a_waiting_feed_does_not_begin_with_a_filter_that_fails(filled: Database, feed: str) -> None:
    with pytest.raises(ResponseError) as failed:
        await call(filled, "GET", f"_changes?filter=d/throws&feed={feed}&timeout=100")
    assert failed.value.status == 500


async def test_a_filter_that_fails_later_ends_the_feed_with_its_error(filled: Database, backend: str) -> None:
    if backend == "live":
        pytest.skip("CouchDB lets such a feed wait")
    path = (*filled.path, "_changes")
    query = {"filter": "d/late", "feed": "continuous", "since": "now", "timeout": "9000"}
    waiting = asyncio.create_task(filled.session.send(Request("GET", path, query=query)))
    await asyncio.sleep(0.05)
    await call(filled, "PUT", "late", {"bad": True})
    assert (await waiting).body.endswith(b'{"error":"odd","reason":"too late"}\n')


async def test_a_waiting_feed_is_filtered_too(filled: Database) -> None:
    waiting = asyncio.create_task(call(filled, "GET", "_changes?filter=d/big&least=8&feed=longpoll&timeout=9000"))
    await asyncio.sleep(0.05)
    await call(filled, "PUT", "c", {"n": 3})
    await call(filled, "PUT", "d", {"n": 9})
    assert [row["id"] for row in (await waiting)["results"]] == ["d"]


# --- updates


def header(answer: Response, name: str) -> str:
    return {key.lower(): value for key, value in answer.headers.items()}[name]


UPDATES = {
    "bump": """function (doc, req) {
        if (!doc) return [{_id: req.id || req.uuid, n: 0}, 'new'];
        doc.n++;
        return [doc, {json: {n: doc.n}, headers: {'X-Mine': 'yes'}}];
    }""",
    "tell": """function (doc, req) {
        var path = req.path.slice(1), secret = req.headers.Authorization;
        return [null, {json: [doc, req.id, req.method, req.query, req.body, req.form, path, secret]}];
    }""",
    "remove": "function (doc) { return [{_id: doc._id, _rev: doc._rev, _deleted: true}, ''] }",
    "plain": "function () { return [null, {body: 'hi', code: 202, headers: {'Content-Type': 'text/plain'}}] }",
    "bytes": "function () { return [null, {base64: 'aGk='}] }",
    "nothing": "function () { return [null, {}] }",
    "nameless": "function () { return [{n: 1}, ''] }",
    "number": "function () { return [null, 5] }",
    "undefined": "function () {}",
    "unknown": "function () { return [null, {zork: 5}] }",
    "headers": "function () { return [null, {headers: 5}] }",
    "throws": "function () { throw 'x' }",
    "error": "function () { throw(['error', 'mine', 'why']) }",
    "odd": "function named() {}",
    "code": "function () { return [{_id: 'x'}, {code: 99}] }",
    "split": "function () { return [{_id: 'x'}, {headers: {A: 'b\\r\\nc: d'}}] }",
    "split_name": "function () { return [{_id: 'x'}, {headers: {'A\\r\\nB': 'c'}}] }",
    "spaced": "function () { return [{_id: 'x'}, {headers: {'A B': 'c'}}] }",
    "proof": "function (doc, req) { return [null, typeof req.headers['X-Auth-Couchdb-Token']] }",
    "policy": "function () { return [null, {body: '', headers: {'Content-Security-Policy': 'none'}}] }",
}


@pytest.fixture
async def updating(database: Database) -> Database:
    await call(database, "PUT", "a", {"n": 1})
    await call(database, "PUT", "_design/d", {"updates": UPDATES})
    return database


async def update(database: Database, name: str, method: str = "POST", body: bytes = b"", **headers: str) -> Response:
    path = (*database.path, "_design", "d", "_update", *name.split("/"))
    return await database.session.send(Request(method, path, body=body, headers=headers or {"accept": "*/*"}))


async def test_an_update_writes_the_document_it_makes(updating: Database) -> None:
    answer = await update(updating, "bump/a", "PUT")
    document = await call(updating, "GET", "a")
    assert document["n"] == 2
    assert (answer.status, answer.json()) == (201, {"n": 2})
    assert header(answer, "x-couch-update-newrev") == document["_rev"]
    assert header(answer, "x-mine") == "yes"
    assert header(answer, "content-type") == "application/json"


async def test_an_update_may_make_a_document_anew(updating: Database) -> None:
    answer = await update(updating, "bump/b")
    assert (answer.status, answer.body) == (201, b"new")
    assert header(answer, "content-type") == "text/html; charset=utf-8"
    assert (await call(updating, "GET", "b"))["n"] == 0
    named = header(await update(updating, "bump"), "x-couch-id")
    assert (await call(updating, "GET", named))["n"] == 0


async def test_an_update_may_delete(updating: Database) -> None:
    assert (await update(updating, "remove/a")).status == 201
    with pytest.raises(NotFoundError, match="deleted"):
        await call(updating, "GET", "a")


async def test_an_update_sees_the_request(updating: Database) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = await update(updating, "tell/x/y", body=b"a=1&b=2", **form)
    path = ["_design", "d", "_update", "tell", "x", "y"]
    assert answer.json() == [
        None, "x/y", "POST", {}, "a=1&b=2", {"a": "1", "b": "2"}, path, None
    ]  # fmt: skip
    document = (await update(updating, "tell/a", "PUT")).json()[0]
    assert (document["n"], document["_revisions"]["start"]) == (1, 1)


@pytest.mark.parametrize(
    ("name", "status", "content_type", "body"),
    [
        ("plain", 202, "text/plain", b"hi"),
        ("bytes", 200, "application/binary", b"hi"),
        ("nothing", 200, "application/json", b""),
    ],
)
async def test_an_update_says_what_it_answers(
    updating: Database, name: str, status: int, content_type: str, body: bytes
) -> None:
    answer = await update(updating, name)
    assert (answer.status, header(answer, "content-type"), answer.body) == (status, content_type, body)
    assert header(answer, "content-security-policy") == "sandbox"


@pytest.mark.parametrize(
    ("name", "status", "code", "reason"),
    [
        ("none", 404, "not_found", "missing json key: none"),
        ("nameless", 400, "illegal_docid", "Document id must not be empty"),
        ("number", 500, "render_error", "undefined response from update function"),
        ("undefined", 500, "render_error", "function raised error: TypeError: "),
        ("unknown", 500, "external_response_error", 'Invalid data from external server: {<<"zork">>,5}'),
        ("headers", 500, "external_response_error", 'Invalid data from external server: {<<"headers">>,5}'),
        ("throws", 500, "render_error", "function raised error: x \nstacktrace: undefined"),
        ("error", 500, "mine", "why"),
        ("odd", 500, "compilation_error", "Expression does not eval to a function. (function named() {})"),
    ],
)
async def test_an_update_that_fails_is_an_error(
    updating: Database, name: str, status: int, code: str, reason: str
) -> None:
    with pytest.raises(ResponseError) as failed:
        await update(updating, name)
    assert (failed.value.status, failed.value.code) == (status, code)
    assert failed.value.reason.startswith(reason)


async def test_an_update_that_cannot_be_answered_writes_nothing(updating: Database, backend: str) -> None:
    if backend == "live":
        pytest.skip("CouchDB writes first, and breaks the answer off")
    for name in ("code", "split", "split_name", "spaced"):
        with pytest.raises(ResponseError, match="Invalid data from external server"):
            await update(updating, f"{name}/x")
    with pytest.raises(NotFoundError):
        await call(updating, "GET", "x")


async def test_an_update_does_not_see_what_a_proxy_proves_itself_by(updating: Database, backend: str) -> None:
    if backend == "live":
        pytest.skip("CouchDB shows it, and passwords only are hidden")
    answer = await update(updating, "proof", "POST", b"", **{"x-auth-couchdb-token": "x"})
    assert answer.body == b"undefined"


async def test_an_update_cannot_free_its_page(updating: Database) -> None:
    answer = await update(updating, "policy")
    policies = [value for name, value in answer.headers.items() if name.lower() == "content-security-policy"]
    assert policies[0].startswith("sandbox")


async def test_an_update_is_no_get(updating: Database) -> None:
    with pytest.raises(MethodNotAllowedError, match="do not allow GET"):
        await update(updating, "bump/a", "GET")
    with pytest.raises(MethodNotAllowedError):
        await update(updating, "bump/a", "HEAD")


async def test_functions_of_a_design_document_share_nothing(database: Database) -> None:
    update_function = "function () { Object.prototype.broken = 1; return [{_id: 'b'}, typeof broken] }"
    check = "function () { if (typeof broken !== 'undefined') throw({forbidden: 'broken'}) }"
    await call(database, "PUT", "_design/d", {"updates": {"break": update_function}, "validate_doc_update": check})
    assert (await update(database, "break")).body == b"number"
    assert (await call(database, "PUT", "a", {}))["ok"]


async def test_whoever_writes_does_not_wait_for_an_update(
    database: Database, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "live":
        pytest.skip("it takes five seconds there")
    monkeypatch.setattr(LIMITS, "call_seconds", 1)
    functions = {"updates": {"endless": "function () { while (true); }"}, "validate_doc_update": "function () {}"}
    await call(database, "PUT", "_design/d", functions)
    endless = [asyncio.create_task(update(database, "endless")) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert (await call(database, "PUT", "a", {}))["ok"]
    assert not any(task.done() for task in endless)
    failed = await asyncio.gather(*endless, return_exceptions=True)
    assert all("OS process timed out." in str(error) for error in failed)


async def test_an_update_is_checked_as_any_write(updating: Database) -> None:
    source = "function (newDoc) { if (newDoc.n > 1) throw({forbidden: 'too much'}) }"
    await call(updating, "PUT", "_design/check", {"validate_doc_update": source})
    with pytest.raises(ResponseError, match="too much"):
        await update(updating, "bump/a")
    assert json.dumps(await call(updating, "GET", "a")).count('"n": 1')


async def test_a_function_that_runs_for_ever_is_ended_and_the_rest_goes_on(
    updating: Database, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    if backend == "live":
        pytest.skip("it takes five seconds there")
    monkeypatch.setattr(LIMITS, "call_seconds", 0.2)
    loop = {"loop": "function () { while (1); }"}
    await call(updating, "PUT", "_design/e", {"updates": loop, "filters": loop})
    slow = [call(updating, "POST", "_design/e/_update/loop"), call(updating, "GET", "_changes?filter=e/loop")]
    running = asyncio.gather(*slow, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert (await call(updating, "GET", "a"))["n"] == 1
    assert [getattr(error, "reason", None) for error in await running] == ["OS process timed out."] * 2
    assert (await update(updating, "bump/a")).status == 201
