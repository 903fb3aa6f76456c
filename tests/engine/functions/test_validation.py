"""What a database refuses: design documents that are none, and documents that a design document's function refuses."""

from typing import Any

import pytest

from couchmodel import ConflictError, ForbiddenError
from couchmodel._embedded.javascript.engine import LIMITS
from couchmodel.engine import Database
from couchmodel.errors import BadRequestError, ResponseError
from tests.engine.requests import call

REFUSE = "function (newDoc, oldDoc, userCtx, secObj) { throw({forbidden: %s}) }"
SHOW = REFUSE % "JSON.stringify([newDoc, oldDoc])"


async def validate(database: Database, source: str, **members: Any) -> None:
    """Have a function check the database's documents."""
    await call(database, "PUT", "_design/check", {"validate_doc_update": source, **members})


# --- design documents


@pytest.mark.parametrize(
    ("design", "reason"),
    [
        ({"views": []}, "`views` field must have object type"),
        ({"views": {"x": 5}}, "`views.x` field must have object type"),
        ({"views": {"x": {"map": 5}}}, "`views.x.map` field must have string type"),
        ({"views": {"x": {"map": "function () {}", "reduce": None}}}, "`views.x.reduce` field must have string type"),
        ({"views": {"x": {"reduce": "_count"}}}, "View `x` must contain map function"),
        ({"views": {"lib": 5}}, "`views.lib` field must have object type"),
        ({"language": "query", "views": {"x": {"map": "f"}}}, "`views.x.map` field must have object type"),
        ({"language": 5}, "`language` field must have string type"),
        ({"filters": {"a": 5}}, "`filters.a` field must have string or object type"),
        ({"options": {"local_seq": 1}}, "`options.local_seq` field must have boolean type"),
        ({"options": {"partitioned": True}}, "partitioned option cannot be true in a non-partitioned database."),
        ({"rewrites": {}}, "`rewrites` field must have array or string type"),
        ({"validate_doc_update": 5}, "`validate_doc_update` field must have string type"),
        ({"views": {"x": {"map": "function () {}", "reduce": "_foo"}}}, "`_foo` is not a supported reduce function."),
        ({"views": {"x": {"map": "function () {}", "reduce": "_top_0"}}}, "rank value must be between 1 and 100"),
        ({"views": {"x": {"map": "function () {}", "reduce": "_top_x"}}}, "invalid rank reducer"),
    ],
)
async def test_a_design_document_has_members_of_certain_types(
    database: Database, design: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await call(database, "PUT", "_design/bad", design)
    assert (refused.value.code, refused.value.reason) == ("invalid_design_doc", reason)


@pytest.mark.parametrize(
    ("views", "reason"),
    [
        ({"x": {"map": "function(doc{ emit("}}, "map function in the 'x' view failed: SyntaxError: expecting ','"),
        ({"x": {"map": "function named(doc) {}"}}, "map function in the 'x' view failed: Expression does not eval to"),
        ({"x": {"map": "throw 'x'"}}, "map function in the 'x' view failed: x (throw 'x')"),
        ({"x": {"map": "none"}}, "map function in the 'x' view failed: ReferenceError: "),
        (
            {"x": {"map": "function () {}", "reduce": "function("}},
            "reduce function in the 'x' view failed: SyntaxError: missing formal parameter (function()",
        ),
        ({"b": {"map": "zz("}, "a": {"map": "yy("}}, "map function in the 'a' view failed: "),
        ({"b": {"map": "zz("}, "a": {"map": "zz("}}, "map function in the 'a' view failed: "),
    ],
)
async def test_the_functions_of_its_views_compile(database: Database, views: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        await call(database, "PUT", "_design/bad", {"views": views})
    assert refused.value.code == "compilation_error"
    assert refused.value.reason.startswith(f"Compilation of the {reason}")


@pytest.mark.parametrize(
    "design",
    [
        {"language": "zork", "views": {"x": {"map": "zork("}}},
        {"filters": {"x": "zz("}, "updates": {"x": "zz("}, "validate_doc_update": "zz("},
        {"views": {"lib": {"a": "zz("}, "x": {"map": "// a comment\n(doc) => {}", "reduce": "_sumfoo"}}},
        {"anything": 1, "_deleted": False},
    ],
)
async def test_the_rest_of_a_design_document_is_its_own_business(database: Database, design: dict[str, Any]) -> None:
    assert (await call(database, "PUT", "_design/good", design))["ok"]


async def test_in_bulk_a_bad_design_document_is_refused_alone(database: Database) -> None:
    bad = {"_id": "_design/bad", "views": 5}
    reason = "`views` field must have object type"
    rows = await call(database, "POST", "_bulk_docs", {"docs": [bad, {"_id": "a"}]})
    assert rows[0] == {"id": "_design/bad", "error": "invalid_design_doc", "reason": reason}
    assert rows[1]["ok"]
    rows = await call(database, "POST", "_bulk_docs", {"new_edits": False, "docs": [{**bad, "_rev": "1-a"}]})
    assert rows == [{"id": "_design/bad", "rev": "1-a", "error": "invalid_design_doc", "reason": reason}]


# --- documents


async def test_a_function_sees_the_new_and_the_old_revision(database: Database) -> None:
    first = await call(database, "PUT", "a", {"n": 1, "_attachments": {"t": {"data": "aGk="}}})
    await validate(database, SHOW)
    with pytest.raises(ForbiddenError) as refused:
        await call(database, "PUT", "a", {"n": 2, "_rev": first["rev"]})
    history = '"_revisions":{"start":1,"ids":["%s"]}' % first["rev"][2:]  # noqa: UP031 - it has braces
    assert refused.value.reason == (
        f'[{{"_id":"a","_rev":"{first["rev"]}","n":2,{history}}},{{"_id":"a","_rev":"{first["rev"]}","n":1,{history},'
        '"_attachments":{"t":{"content_type":"application/octet-stream","revpos":1,'
        '"digest":"md5-SfaKXIST7CwL9ImCHCH8Ow==","length":2,"stub":true}}}]'
    )


async def test_a_function_sees_who_writes_and_where(database: Database) -> None:
    await validate(database, REFUSE % "JSON.stringify([userCtx.db, userCtx.roles, secObj, this._id, typeof require])")
    with pytest.raises(ForbiddenError) as refused:
        await call(database, "PUT", "a", {})
    security = '{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}'
    assert refused.value.reason == f'["{database.id}",["_admin"],{security},"_design/check","function"]'


async def test_every_way_to_write_a_document_is_checked(database: Database) -> None:
    rev = (await call(database, "PUT", "a", {"_attachments": {"t": {"data": "aGk="}}}))["rev"]
    await validate(database, REFUSE % "'no'")
    requests: list[tuple[Any, ...]] = [
        ("PUT", "b", {}),
        ("POST", "", {}),
        ("PUT", "b?new_edits=false", {"_rev": "3-abc"}),
        ("DELETE", f"a?rev={rev}", None),
        ("PUT", f"a/t?rev={rev}", {}),
        ("DELETE", f"a/t?rev={rev}", None),
        ("COPY", "a", None, {"destination": "b"}),
        ("PUT", "b", {"_deleted": True}),
    ]
    for request in requests:
        with pytest.raises(ForbiddenError, match="no"):
            await call(database, *request)
    assert (await call(database, "GET", "_changes"))["last_seq"].startswith("2-")


async def test_local_and_design_documents_are_not_checked(database: Database) -> None:
    await validate(database, REFUSE % "'no'")
    assert (await call(database, "PUT", "_local/a", {}))["ok"]
    assert (await call(database, "PUT", "_design/other", {}))["ok"]


async def test_a_conflict_comes_before_a_refusal(database: Database) -> None:
    await call(database, "PUT", "a", {})
    await validate(database, REFUSE % "'no'")
    with pytest.raises(ConflictError):
        await call(database, "PUT", "a", {"_rev": "9-abc"})


async def test_in_bulk_each_document_is_refused_by_itself(database: Database) -> None:
    source = """function (newDoc) {
        if (newDoc.kind == 1) throw({forbidden: 'no'});
        if (newDoc.kind == 2) throw({unauthorized: 'who'});
        if (newDoc.kind == 3) throw('odd');
        if (newDoc.kind == 4) none.at.all;
    }"""
    await validate(database, source)
    documents = [{"_id": str(kind), "kind": kind} for kind in range(5)]
    rows = await call(database, "POST", "_bulk_docs", {"docs": documents})
    assert [(row.get("error"), row.get("reason")) for row in rows] == [
        (None, None),
        ("forbidden", "no"),
        ("unauthorized", "who"),
        ("unknown_error", "odd"),
        ("ReferenceError", "{[]}"),
    ]
    replicated = [{**document, "_rev": "1-a"} for document in documents]
    rows = await call(database, "POST", "_bulk_docs", {"docs": replicated, "new_edits": False})
    assert rows[0] == {"id": "1", "rev": "1-a", "error": "forbidden", "reason": "no"}
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("thrown", "status", "code", "reason"),
    [
        ("{unauthorized: 'who'}", 401, "unauthorized", "who"),
        ("{forbidden: ''}", 403, "forbidden", ""),
        ("'x'", 500, "unknown_error", "x"),
        ("{other: 1}", 500, "unknown_error", "1"),
        ("{forbidden: 'a', unauthorized: 'b'}", 500, "unknown_error", "function_clause"),
        ("5", 500, "unknown_error", "function_clause"),
        ("null", 500, "TypeError", "{[]}"),
        ("new Error('x')", 500, "Error", "{[]}"),
        ("function () {}", 500, "parse_error", "bad_token"),
        ("Symbol('x')", 500, "parse_error", "bad_token"),
        ("{forbidden: 'x', toJSON: function () {}}", 500, "parse_error", "bad_token"),
    ],
)
async def test_what_a_function_throws_is_the_answer(
    database: Database, thrown: str, status: int, code: str, reason: str
) -> None:
    await validate(database, f"function () {{ throw({thrown}) }}")
    with pytest.raises(ResponseError) as refused:
        await call(database, "PUT", "a", {})
    assert (refused.value.status, refused.value.code, refused.value.reason) == (status, code, reason)


async def test_a_function_that_breaks_its_surroundings_refuses_all_the_same(database: Database) -> None:
    broken = "Object.prototype.toJSON = Array.prototype.toJSON = function () { return {} }; log('x')"
    await validate(database, f"function () {{ {broken}; throw('no') }}")
    with pytest.raises(ResponseError) as refused:
        await call(database, "PUT", "a", {})
    assert (refused.value.code, refused.value.reason) == ("unknown_error", "no")


@pytest.mark.parametrize(
    ("source", "members", "code", "reason"),
    [
        ("function(", {}, "compilation_error", "SyntaxError: missing formal parameter (function()"),
        ("5", {}, "compilation_error", "Expression does not eval to a function. (5)"),
        ("function () {}", {"language": "zork"}, "unknown_query_language", "zork"),
    ],
)
async def test_nothing_is_written_past_a_function_that_cannot_run(
    database: Database, source: str, members: dict[str, Any], code: str, reason: str
) -> None:
    await validate(database, source, **members)
    with pytest.raises(ResponseError) as refused:
        await call(database, "PUT", "a", {})
    assert (refused.value.status, refused.value.code, refused.value.reason) == (500, code, reason)


async def test_the_function_that_counts_is_that_of_the_moment(database: Database) -> None:
    await validate(database, REFUSE % "'first'")
    with pytest.raises(ForbiddenError, match="first"):
        await call(database, "PUT", "a", {})
    rev = (await call(database, "GET", "_design/check"))["_rev"]
    await validate(database, REFUSE % "'second'", _rev=rev)
    with pytest.raises(ForbiddenError, match="second"):
        await call(database, "PUT", "a", {})
    rev = (await call(database, "GET", "_design/check"))["_rev"]
    await call(database, "DELETE", f"_design/check?rev={rev}")
    assert (await call(database, "PUT", "a", {}))["ok"]


async def test_a_function_that_runs_for_ever_is_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    if backend == "live":
        pytest.skip("it takes five seconds there")
    monkeypatch.setattr(LIMITS, "call_seconds", 0.1)
    await validate(database, "function (newDoc) { while (newDoc.slow); }")
    with pytest.raises(ResponseError, match=r"OS process timed out\."):
        await call(database, "PUT", "a", {"slow": True})
    assert (await call(database, "PUT", "a", {}))["ok"]


async def test_without_the_extra_a_database_with_functions_takes_no_documents(
    database: Database, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    if backend == "live":
        pytest.skip("it needs no extra there")
    monkeypatch.setattr("couchmodel._embedded.javascript.engine.is_available", lambda: False)
    await validate(database, REFUSE % "'no'")
    with pytest.raises(ResponseError, match=r"couchmodel\[js\]") as refused:
        await call(database, "PUT", "a", {})
    assert refused.value.status == 501
