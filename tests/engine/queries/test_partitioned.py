"""Partitioned databases: which ids they take, and what of them is shown of one partition."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from couchmodel import BadRequestError, Connection
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from couchmodel.errors import MethodNotAllowedError, NotFoundError

NO_PARTITION = "Doc id must be of form partition:id"


async def ask(database: Database, method: str, *path: str, body: object = None, **query: str) -> Any:
    raw = None if body is None else encode(body)
    return await database.session.json(Request(method, (*database.path, *path), query, body=raw))


@pytest.fixture
async def shop(couch: Connection) -> AsyncIterator[Database]:
    """A partitioned database with documents in two partitions, and a design document."""
    database = await couch.create(f"test-{secrets.token_hex(6)}", partitioned=True, q=1)
    for id in ("cake:a", "soup:a", "soup:b", "soup:c", "soup:d"):
        await ask(database, "PUT", id, body={"n": 1})
    await ask(database, "DELETE", "soup:d", rev=(await ask(database, "GET", "soup:d"))["_rev"])
    await ask(database, "PUT", "_design/app", body={})
    yield database
    await database.delete()


@pytest.mark.parametrize(
    ("id", "code", "reason"),
    [
        ("pie", "illegal_docid", NO_PARTITION),
        (":pie", "illegal_partition", "Partition must not be empty"),
        ("cake:", "illegal_docid", "Document id must not be empty"),
        ("cake:_pie", "illegal_docid", "Only reserved document ids may start with underscore."),
        ("_cake:pie", "illegal_docid", "Only reserved document ids may start with underscore."),
    ],
)
async def test_an_id_names_its_partition(shop: Database, id: str, code: str, reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        await ask(shop, "PUT", id, body={})
    assert (caught.value.code, caught.value.reason) == (code, reason)
    for new_edits in True, False:
        document = {"_id": id, **({} if new_edits else {"_rev": "1-a"})}
        with pytest.raises(BadRequestError):
            await ask(shop, "POST", "_bulk_docs", body={"docs": [{"_id": "x:y"}, document], "new_edits": new_edits})
    assert (await ask(shop, "GET"))["doc_count"] == 5


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", ("pie",), None),
        ("DELETE", ("pie",), None),
        ("GET", ("pie", "photo"), None),
        ("PUT", ("pie", "photo"), {}),
        ("POST", (), {}),
        ("POST", ("_revs_diff",), {"pie": ["1-a"]}),
        ("POST", ("_missing_revs",), {"pie": ["1-a"]}),
        ("POST", ("_purge",), {"pie": ["1-a"]}),
    ],
)
async def test_nothing_is_outside_of_a_partition(shop: Database, method: str, path: tuple[str, ...], body: Any) -> None:
    with pytest.raises(BadRequestError) as caught:
        await ask(shop, method, *path, body=body)
    assert (caught.value.code, caught.value.reason) == ("illegal_docid", NO_PARTITION)


async def test_keys_name_their_partitions(shop: Database, backend: str) -> None:
    if backend == "live":
        pytest.skip("CouchDB breaks the connection behind its answer")
    with pytest.raises(BadRequestError, match=NO_PARTITION):
        await ask(shop, "POST", "_all_docs", body={"keys": ["cake:a", "pie"]})


async def test_a_document_is_copied_into_a_partition(shop: Database) -> None:
    for target, fits in (("tart:a", True), ("tart", False)):
        request = Request("COPY", (*shop.path, "cake:a"), headers={"destination": target, "accept": "application/json"})
        if fits:
            assert (await shop.session.json(request))["id"] == target
        else:
            with pytest.raises(BadRequestError):
                await shop.session.json(request)


async def test_of_many_documents_each_is_told_what_is_wrong_with_its_id(shop: Database) -> None:
    answer = await ask(shop, "POST", "_bulk_get", body={"docs": [{"id": "pie"}, {"id": ":x"}, {"id": "cake:a"}]})
    outcomes = [row["docs"][0] for row in answer["results"]]
    assert [outcome.get("error", {}).get("error") for outcome in outcomes] == [
        "illegal_docid",
        "illegal_partition",
        None,
    ]


@pytest.mark.parametrize(("name", "living", "deleted"), [("soup", 3, 1), ("cake", 1, 0), ("no/ne", 0, 0)])
async def test_a_partition_is_counted(shop: Database, name: str, living: int, deleted: int) -> None:
    info = await ask(shop, "GET", "_partition", name)
    assert (info["partition"], info["doc_count"], info["doc_del_count"]) == (name, living, deleted)
    assert (info["sizes"]["external"] > 0) == (living > 0)


@pytest.mark.parametrize(
    ("query", "offset", "ids"),
    [
        ({}, 2, "abc"),
        ({"limit": "1", "skip": "1"}, 3, "b"),
        ({"descending": "true", "limit": "2"}, 0, "cb"),
        ({"startkey": '"soup:b"'}, 3, "bc"),
        ({"startkey": '"a"', "endkey": '"z"'}, 2, "abc"),
        ({"startkey": '"z"'}, 5, ""),
        ({"endkey": '"a"'}, 2, ""),
        ({"endkey": "5"}, 2, ""),
        ({"startkey": "5"}, 2, "abc"),
        ({"descending": "true", "startkey": '"soup:b"'}, 1, "ba"),
        ({"descending": "true", "endkey": '"soup:b"'}, 0, "cb"),
        ({"endkey": '"soup:c"', "inclusive_end": "false"}, 2, "ab"),
        ({"key": '"soup:b"'}, 3, "b"),
        ({"key": '"cake:a"'}, 2, ""),
    ],
)
async def test_the_documents_of_a_partition_are_listed(
    shop: Database, query: dict[str, str], offset: int, ids: str
) -> None:
    for path, more in ((("_partition", "soup", "_all_docs"), {}), (("_all_docs",), {"partition": "soup"})):
        answer = await ask(shop, "GET", *path, **query, **more)
        assert (answer["total_rows"], answer["offset"]) == (5, offset)
        assert [row["id"] for row in answer["rows"]] == [f"soup:{letter}" for letter in ids]


async def test_several_lists_of_a_partition_come_together(shop: Database) -> None:
    queries = {"queries": [{"limit": 1}, {"descending": True, "limit": 1}]}
    answer = await ask(shop, "POST", "_partition", "soup", "_all_docs", "queries", body=queries)
    assert [result["rows"][0]["id"] for result in answer["results"]] == ["soup:a", "soup:c"]


@pytest.mark.parametrize(
    ("method", "path", "query", "code"),
    [
        ("GET", ("_partition",), {}, "bad_request"),
        ("GET", ("_partition", "_x"), {}, "illegal_partition"),
        ("GET", ("_partition", "a:b"), {}, "illegal_partition"),
        ("GET", ("_partition", "_x", "_all_docs"), {}, "illegal_partition"),
        ("GET", ("_partition", "soup", "_all_docs"), {"partition": "cake"}, "bad_request"),
        ("GET", ("_all_docs",), {"partition": ""}, "illegal_partition"),
        ("GET", ("_all_docs",), {"partition": "a:b"}, "illegal_partition"),
    ],
)
async def test_what_is_no_partition_is_refused(
    shop: Database, method: str, path: tuple[str, ...], query: dict[str, str], code: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        await ask(shop, method, *path, **query)
    assert caught.value.code == code


@pytest.mark.parametrize("rest", ["_changes", "_bulk_docs", "_design_docs", "soup:a", "zork"])
async def test_a_partition_has_few_endpoints(shop: Database, rest: str) -> None:
    with pytest.raises(NotFoundError):
        await ask(shop, "GET", "_partition", "soup", rest)
    with pytest.raises(MethodNotAllowedError):
        await ask(shop, "PUT", "_partition", "soup")


@pytest.mark.parametrize("options", [[], {"partitioned": "x"}, {"partitioned": None}])
async def test_a_design_document_says_whether_its_views_are_partitioned(shop: Database, options: object) -> None:
    for partitioned in True, False:
        await ask(shop, "PUT", f"_design/{partitioned}", body={"options": {"partitioned": partitioned}})
    with pytest.raises(BadRequestError) as caught:
        await ask(shop, "PUT", "_design/x", body={"options": options})
    assert caught.value.code == "invalid_design_doc"


def design(**options: bool) -> dict[str, object]:
    """A view of ids by number that needs no JavaScript."""
    view = {"map": {"fields": {"n": "asc"}, "partial_filter_selector": {}}, "reduce": "_count", "options": {"def": {}}}
    return {"language": "query", "views": {"by": view}, **({"options": options} if options else {})}


@pytest.mark.parametrize(
    ("query", "offset", "ids"),
    [
        ({}, 1, ["soup:a", "soup:b", "soup:c"]),
        ({"descending": "true", "limit": "1"}, 0, ["soup:c"]),
        ({"skip": "1", "limit": "1"}, 2, ["soup:b"]),
        ({"startkey": "[9]"}, 4, []),
    ],
)
async def test_a_view_shows_one_partition(shop: Database, query: dict[str, str], offset: int, ids: list[str]) -> None:
    await ask(shop, "PUT", "_design/v", body=design())
    path = ("_partition", "soup", "_design", "v", "_view", "by")
    answer = await ask(shop, "GET", *path, reduce="false", **query)
    assert (answer["total_rows"], answer["offset"]) == (4, offset)
    assert [row["id"] for row in answer["rows"]] == ids
    assert (await ask(shop, "GET", *path))["rows"] == [{"key": None, "value": 3}]


@pytest.mark.parametrize(
    ("options", "path", "reason"),
    [
        ({}, (), "`partition` parameter is mandatory for queries to this view."),
        ({"partitioned": False}, ("_partition", "soup"), "`partition` parameter is not supported in this design doc"),
    ],
)
async def test_a_view_is_of_partitions_or_of_the_database(
    shop: Database, options: dict[str, bool], path: tuple[str, ...], reason: str
) -> None:
    await ask(shop, "PUT", "_design/v", body=design(**options))
    with pytest.raises(BadRequestError) as caught:
        await ask(shop, "GET", *path, "_design", "v", "_view", "by", reduce="false")
    assert (caught.value.code, caught.value.reason) == ("query_parse_error", reason)


async def test_another_database_has_no_partitions(database: Database) -> None:
    assert (await ask(database, "GET"))["props"] == {}
    for path in ("_partition", "x"), ("_partition", "x", "_all_docs"):
        with pytest.raises(BadRequestError, match="database is not partitioned"):
            await ask(database, "GET", *path)
    with pytest.raises(BadRequestError, match="`partition` parameter is not supported on this db"):
        await ask(database, "GET", "_all_docs", partition="x")
    with pytest.raises(BadRequestError, match="cannot be true in a non-partitioned database"):
        await ask(database, "PUT", "_design/x", body={"options": {"partitioned": True}})


@pytest.mark.parametrize(
    "query",
    [
        {"q": "0"},
        {"q": "x"},
        {"q": ""},
        {"q": "1.5"},
        {"n": "-1"},
        {"placement": "z"},
        {"placement": ""},
        {"partitioned": "x"},
        {"engine": "x"},
    ],
)
async def test_a_database_that_cannot_be_made_so_is_not_made(couch: Connection, query: dict[str, str]) -> None:
    database = couch.database(f"test-{secrets.token_hex(6)}")
    with pytest.raises(BadRequestError):
        await ask(database, "PUT", **query)
    assert not await database.exists()


async def test_a_database_tells_how_it_was_made(couch: Connection) -> None:
    database = couch.database(f"test-{secrets.token_hex(6)}")
    for query, shards in ({"q": "16", "n": "1"}, 16), ({"q": "+3"}, 3), ({"partitioned": "true"}, 2):
        await ask(database, "PUT", **query)
        info = await ask(database, "GET")
        assert (info["cluster"]["q"], info["cluster"]["n"]) == (shards, 1)
        assert info["props"].get("partitioned", False) == ("partitioned" in query)
        await database.delete()
        database = couch.database(f"{database.id}x")
