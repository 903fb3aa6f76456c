"""Functions that check writes are asked outside of transactions, and still count for what is there at the moment."""

import asyncio
from typing import Any

import pytest

from couchmodel import ConflictError, ForbiddenError
from couchmodel._embedded import limits
from couchmodel._embedded.javascript.engine import LIMITS
from couchmodel.engine import Database
from tests.engine.requests import call

SLOW = "for (var began = Date.now(); Date.now() - began < 150;);"
SEEN = "throw({forbidden: JSON.stringify([newDoc.n, oldDoc && oldDoc.n])})"


async def check(database: Database, body: str, **members: Any) -> str:
    """Have a function check the database's documents. The revision of its design document."""
    source = f"function (newDoc, oldDoc) {{ {body} }}"
    rev: str = (await call(database, "PUT", "_design/check", {"validate_doc_update": source, **members}))["rev"]
    return rev


async def test_a_function_that_changes_while_a_write_waits_is_asked_as_well(database: Database, backend: str) -> None:
    if backend == "live":
        pytest.skip("there the functions are those of the request's beginning")
    rev = await check(database, SLOW)
    waiting = asyncio.create_task(call(database, "PUT", "a", {}))
    await asyncio.sleep(0.05)
    await check(database, "throw({forbidden: 'second'})", _rev=rev)
    with pytest.raises(ForbiddenError, match="second"):
        await waiting


async def test_a_function_that_is_gone_while_a_write_waits_does_not_count(database: Database, backend: str) -> None:
    if backend == "live":
        pytest.skip("there the functions are those of the request's beginning")
    rev = await check(database, f"{SLOW} throw({{forbidden: 'first'}})")
    waiting = asyncio.create_task(call(database, "PUT", "a", {}))
    await asyncio.sleep(0.05)
    await call(database, "DELETE", f"_design/check?rev={rev}")
    assert (await waiting)["ok"]


async def test_functions_that_are_replaced_again_and_again_do_not_hold_a_write_up(database: Database) -> None:
    rev = await check(database, SLOW)
    writing = asyncio.create_task(call(database, "PUT", "a", {}))
    async with asyncio.timeout(30):
        while not writing.done():
            rev = await check(database, SLOW, _rev=rev)
            await asyncio.sleep(0.01)
    assert (await writing)["ok"]


async def test_of_two_writes_that_wait_for_their_functions_one_is_a_conflict(database: Database) -> None:
    await check(database, SLOW)
    writes = [call(database, "PUT", "a", {"n": n}) for n in range(2)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results if isinstance(result, Exception)] == [ConflictError]


@pytest.mark.parametrize("enough", [1, 2, 5000])
async def test_many_documents_are_asked_about_in_parts(
    database: Database, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OPEN_QUESTIONS", enough)
    await check(database, "if (newDoc.n % 3 == 0) throw({forbidden: 'no'})")
    documents = [{"n": n} for n in range(30)]
    rows = await call(database, "POST", "_bulk_docs", {"docs": documents})
    assert [row.get("reason") for row in rows] == ["no", None, None] * 10
    assert (await call(database, "GET", ""))["doc_count"] == 21


async def test_a_slow_function_of_many_documents_is_ended_for_one_of_them(
    database: Database, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    if backend == "live":
        pytest.skip("it takes five seconds there")
    monkeypatch.setattr(LIMITS, "call_seconds", 0.3)
    await check(database, "while (newDoc.slow);")
    documents = [{"_id": str(n), "slow": n == 25} for n in range(30)]
    rows = await call(database, "POST", "_bulk_docs", {"docs": documents})
    assert [(row["id"], row["reason"]) for row in rows if "error" in row] == [("25", "OS process timed out.")]


async def test_revisions_of_one_request_are_compared_with_what_was_there_before(database: Database) -> None:
    await call(database, "PUT", "a?new_edits=false", {"_rev": "1-a", "n": 1})
    await check(database, f"if (newDoc.n == 3) {SEEN}")
    chain = [
        {"_id": "a", "n": n, "_revisions": {"start": n, "ids": ["abc"[k] for k in reversed(range(n))]}} for n in (2, 3)
    ]
    rows = await call(database, "POST", "_bulk_docs", {"new_edits": False, "docs": chain})
    assert [(row["id"], row["reason"]) for row in rows] == [("a", "[3,1]")]


async def test_a_write_that_nobody_waits_for_any_more_keeps_nothing_from_going_on(database: Database) -> None:
    await check(database, "for (var began = Date.now(); newDoc.slow && Date.now() - began < 500;);")
    for _ in range(8):
        waiting = asyncio.create_task(call(database, "PUT", "a", {"slow": True}))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert (await call(database, "PUT", "b", {}))["ok"]
