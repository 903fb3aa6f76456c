"""How many copies of a document a write wants: there is one, so more make it accepted and no more."""

import pytest

from couchmodel.engine import Database
from couchmodel.errors import ResponseError
from tests.engine.requests import ask, call

REV = "1-967a00dff5e02add41819138abb3284d"
"""An empty document."""


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("PUT", "new", b"{}", 201),
        ("PUT", "_local/new", b"{}", 201),
        ("POST", "", b"{}", 201),
        ("POST", "_bulk_docs", b'{"docs":[{"_id":"new"},{"_id":"pie"}]}', 201),
        ("POST", "_purge", b'{"pie":["9-a"]}', 201),
        ("PUT", f"pie/file?rev={REV}", b"{}", 201),
        ("DELETE", f"pie?rev={REV}", b"", 200),
    ],
)
@pytest.mark.parametrize(("copies", "accepted"), [("0", False), ("1", False), ("2", True), ("+9", True), ("-2", False)])
async def test_a_write_is_accepted(
    database: Database, method: str, target: str, body: bytes, status: int, copies: str, accepted: bool
) -> None:
    await call(database, "PUT", "pie", {})
    sign = "&" if "?" in target else "?"
    headers = {"content-type": "application/json"}
    answer = await ask(database, method, f"{target}{sign}w={copies.replace('+', '%2B')}", body, headers)
    assert answer.status == (202 if accepted else status)
    if target == "_bulk_docs":
        assert [row.get("accepted", False) for row in answer.json()] == [accepted, False]


@pytest.mark.parametrize("target", ["pie?new_edits=false&w=2", "_bulk_docs?w=2"])
async def test_what_is_replicated_is_written(database: Database, target: str) -> None:
    body = b'{"new_edits":false,"docs":[]}' if target[0] == "_" else b'{"_rev":"1-a"}'
    method = "POST" if target[0] == "_" else "PUT"
    answer = await ask(database, method, target, body, {"content-type": "application/json"})
    assert answer.status == 201


async def test_a_number_of_copies_is_a_number(database: Database, backend: str) -> None:
    with pytest.raises(ResponseError):
        await call(database, "PUT", "pie?w=x", {})
    # CouchDB finds out while it stores the document.
    assert backend == "live" or (await database.info())["doc_count"] == 0
