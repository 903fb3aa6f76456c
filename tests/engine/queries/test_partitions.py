"""Partitions: documents by the part of their ids before the colon."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from couchmodel import BadRequestError, Connection
from couchmodel.engine import Database, Partition
from tests.engine.requests import call


@pytest.fixture
async def readings(couch: Connection) -> AsyncIterator[Database]:
    """A partitioned database with four documents."""
    database = await couch.create(f"test-{secrets.token_hex(6)}", partitioned=True)
    async with database.create_docs() as bulk:
        for n, id in enumerate(["s/1:a", "s/1:b", "s/1:c", "s2:a"]):
            bulk.create(id, data={"n": n})
    yield database
    await database.delete()


@pytest.fixture
def sensor(readings: Database) -> Partition:
    """A partition with three of its documents."""
    return readings.partition("s/1")


async def test_its_documents_are_listed_and_saved(sensor: Partition) -> None:
    assert [id async for id in sensor.all_docs.ids()] == ["s/1:a", "s/1:b", "s/1:c"]
    assert (await sensor.info())["doc_count"] == 3
    async for document in sensor.all_docs.docs(["s/1:b"]):
        document["n"] = 7
        await document.save()
    assert [document["n"] async for document in sensor.all_docs.docs(prefix="s/1:b")] == [7]


async def test_a_query_stays_inside(sensor: Partition) -> None:
    assert [document.id async for document in sensor.find({"n": {"$gt": 0}})] == ["s/1:b", "s/1:c"]
    assert (await sensor.explain({"n": 1}))["partitioned"]


async def test_a_view_stays_inside(readings: Database, sensor: Partition) -> None:
    design = await readings.design_doc("by")
    await design.create_view("n", "function (doc) { emit(doc.n, null); }")
    view = sensor.view("by", "n")
    assert [key async for key, _ in view.aitems()] == [0, 1, 2]
    assert [key async for key, _ in view.aitems(descending=True, startkey=1)] == [1, 0]
    with pytest.raises(BadRequestError, match="`partition` parameter is mandatory"):
        await readings.view("by", "n").get()


async def test_a_reduced_view_stays_inside_and_a_global_one_does_not(readings: Database, sensor: Partition) -> None:
    views = {"n": {"map": {"fields": {"n": "asc"}}, "reduce": "_count"}}
    for name, options in (("by", {}), ("all", {"options": {"partitioned": False}})):
        await (await readings.create(f"_design/{name}", data={"language": "query", "views": views, **options})).save()
    inside = await sensor.view("by", "n").get(group_level=1)
    assert [(row["key"], row.get("value")) for row in inside.rows] == [([0], 1), ([1], 1), ([2], 1)]
    assert (await sensor.view("by", "n").get()).rows == [{"key": None, "value": 3}]
    assert (await readings.view("all", "n").get()).rows == [{"key": None, "value": 4}]
    with pytest.raises(BadRequestError, match="is not supported in this design doc"):
        await sensor.view("all", "n").get()


@pytest.mark.parametrize("name", ["", ".", "..", "_x", "a:b"])
def test_a_name_that_no_partition_may_have_is_refused(name: str) -> None:
    class Place:
        session = None
        path = ("db",)

    with pytest.raises(BadRequestError):
        Partition(Place(), name)  # type: ignore[arg-type]


@pytest.fixture
async def sensors(couch: Connection) -> AsyncIterator[Database]:
    """A database of two partitions with ten documents each, one index inside and one across them."""
    database = await couch.create(f"test-{secrets.token_hex(6)}", partitioned=True, q=1)
    async with database.create_docs() as bulk:
        for n in range(10):
            for partition in "ab":
                bulk.create(f"{partition}:{n}", data={"n": n, "even": n % 2 == 0})
    await database.index({"fields": ["n"]}, name="inside", ddoc="inside")
    await database.index({"fields": ["n"]}, name="across", ddoc="across", partitioned=False)
    yield database
    await database.delete()


@pytest.mark.parametrize(
    ("selector", "params", "found", "examined"),
    [
        ({"n": {"$gt": 7}}, {}, ["a:8", "a:9"], 3),
        ({"n": {"$gt": 7}}, {"sort": [{"n": "desc"}], "limit": 1, "fields": ["_id", "n"]}, ["a:9"], 2),
        ({"n": {"$gt": 3}, "even": True}, {"limit": 2}, ["a:4", "a:6"], 6),
        ({"even": True}, {"limit": 1}, ["a:0"], 3),
        ({"even": True}, {"skip": 4}, ["a:8"], 10),
        ({"_id": {"$gt": "a:5"}}, {"sort": [{"_id": "desc"}], "limit": 2}, ["a:9", "a:8"], 3),
        ({"_id": {"$gt": "A"}}, {"limit": 1}, ["a:0"], 2),
        ({"_id": "b:5"}, {}, [], 0),
    ],
)
async def test_a_query_reads_only_its_partition(
    sensors: Database, selector: dict[str, Any], params: dict[str, Any], found: list[str], examined: int
) -> None:
    query = {"selector": selector, "execution_stats": True, **params}
    answer = await call(sensors, "POST", "_partition/a/_find", query)
    assert [document["_id"] for document in answer["docs"]] == found
    assert answer["execution_stats"]["total_keys_examined"] == examined
    assert (await call(sensors, "POST", "_find", {**query, "partition": "a"}))["docs"] == answer["docs"]


async def test_pages_of_a_partition_end_with_it(sensors: Database) -> None:
    partition = sensors.partition("a")
    pages = [document.id async for document in partition.find({"n": {"$gte": 0}}, sort=["n"])]
    assert pages == [f"a:{n}" for n in range(10)]
    first = await call(sensors, "POST", "_partition/a/_find", {"selector": {"n": {"$gte": 0}}, "limit": 8})
    query = {"selector": {"n": {"$gte": 0}}, "limit": 8, "bookmark": first["bookmark"]}
    second = await call(sensors, "POST", "_partition/a/_find", query)
    assert [document["_id"] for document in second["docs"]] == ["a:8", "a:9"]


async def test_a_query_takes_the_indexes_of_its_scope(sensors: Database) -> None:
    inside = await call(sensors, "POST", "_partition/a/_explain", {"selector": {"n": 1}})
    across = await call(sensors, "POST", "_explain", {"selector": {"n": 1}})
    for answer, name, partition in ((inside, "inside", "a"), (across, "across", None)):
        assert (answer["index"]["name"], answer["index"]["partitioned"]) == (name, partition is not None)
        assert answer["mrargs"]["partition"] == partition
        [other] = [each for each in answer["index_candidates"] if each["index"]["type"] == "json"]
        assert other["analysis"]["reasons"] == [{"name": "scope_mismatch"}]
    found = await call(sensors, "POST", "_find", {"selector": {"n": 1}, "fields": ["_id"]})
    assert found["docs"] == [{"_id": "a:1"}, {"_id": "b:1"}]


@pytest.mark.parametrize(("target", "kind"), [("_partition/a/_find", "partitioned"), ("_find", "global")])
async def test_an_index_of_the_other_scope_serves_no_sort(sensors: Database, target: str, kind: str) -> None:
    with pytest.raises(BadRequestError, match=f"No {kind} index exists for this sort") as caught:
        await call(sensors, "POST", target, {"selector": {"even": True}, "sort": ["even"]})
    assert caught.value.code == "no_usable_index"


@pytest.mark.parametrize(
    ("partition", "reason"),
    [(5, "must be a string"), (None, "must be a string"), ("_x", "not start with"), ("a:b", "not contain a colon")],
)
async def test_a_partition_has_to_have_a_name(sensors: Database, partition: object, reason: str) -> None:
    with pytest.raises(BadRequestError, match=reason) as caught:
        await call(sensors, "POST", "_find", {"selector": {"n": 1}, "partition": partition})
    assert caught.value.code == "illegal_partition"


async def test_a_database_without_partitions_has_none_to_be_asked(database: Database) -> None:
    with pytest.raises(BadRequestError, match="`partition` parameter is not supported on this db"):
        await call(database, "POST", "_find", {"selector": {"n": 1}, "partition": "a"})


async def test_the_indexes_of_a_design_document_have_one_scope(sensors: Database) -> None:
    design = await sensors["_design/across"]
    assert design["options"] == {"partitioned": False}
    with pytest.raises(BadRequestError, match="does not match existing value on design document _design/across"):
        await sensors.index({"fields": ["even"]}, ddoc="across")
    with pytest.raises(BadRequestError, match="does not match existing value on design document _design/inside"):
        await sensors.index({"fields": ["even"]}, ddoc="inside", partitioned=False)
    assert [index.get("partitioned") for index in await sensors.indexes()] == [None, False, True]


@pytest.mark.parametrize(
    ("partitioned", "name"),
    [
        (True, "ac696a038409356f3b6b766fb963674a6fd9c94c"),
        (False, "9e57cb96212b0205ce6913559f620b64c99c3aab"),
    ],
)
async def test_the_name_of_an_index_depends_on_its_scope(sensors: Database, partitioned: bool, name: str) -> None:
    assert (await sensors.index({"fields": ["n"]}, partitioned=partitioned))["name"] == name


async def test_an_index_is_made_and_removed_from_inside_a_partition(sensors: Database) -> None:
    made = await call(sensors, "POST", "_partition/a/_index", {"index": {"fields": ["even"]}, "name": "e", "ddoc": "e"})
    assert made == {"result": "created", "id": "_design/e", "name": "e"}
    assert (await call(sensors, "GET", "_partition/b/_index"))["total_rows"] == 4
    await call(sensors, "DELETE", "_partition/b/_index/e/json/e")
    assert (await call(sensors, "GET", "_index"))["total_rows"] == 3
