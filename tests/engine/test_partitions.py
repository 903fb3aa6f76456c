"""Partitions: documents by the part of their ids before the colon."""

import secrets
from collections.abc import AsyncIterator

import pytest

from couchmodel import BadRequestError, Connection
from couchmodel.engine import Database, Partition


@pytest.fixture
async def sensor(couch: Connection) -> AsyncIterator[Partition]:
    """A partition with three of four documents."""
    database = await couch.create(f"test-{secrets.token_hex(6)}", partitioned=True)
    async with database.create_docs() as bulk:
        for n, id in enumerate(["s/1:a", "s/1:b", "s/1:c", "s2:a"]):
            bulk.create(id, data={"n": n})
    yield database.partition("s/1")
    await database.delete()


async def test_its_documents_are_listed_and_saved(sensor: Partition) -> None:
    assert [id async for id in sensor.all_docs.ids()] == ["s/1:a", "s/1:b", "s/1:c"]
    assert (await sensor.info())["doc_count"] == 3
    async for document in sensor.all_docs.docs(["s/1:b"]):
        document["n"] = 7
        await document.save()
    assert [document["n"] async for document in sensor.all_docs.docs(prefix="s/1:b")] == [7]


async def test_a_query_stays_inside(live: None, sensor: Partition) -> None:
    assert [document.id async for document in sensor.find({"n": {"$gt": 0}})] == ["s/1:b", "s/1:c"]
    assert (await sensor.explain({"n": 1}))["partitioned"]


async def test_a_view_stays_inside(sensor: Partition) -> None:
    database: Database = sensor._database  # type: ignore[assignment]
    design = await database.design_doc("by")
    await design.create_view("n", "function (doc) { emit(doc.n, null); }")
    view = sensor.view("by", "n")
    assert [key async for key, _ in view.aitems()] == [0, 1, 2]
    assert [key async for key, _ in view.aitems(descending=True, startkey=1)] == [1, 0]
    with pytest.raises(BadRequestError, match="`partition` parameter is mandatory"):
        await database.view("by", "n").get()


async def test_a_reduced_view_stays_inside_and_a_global_one_does_not(sensor: Partition) -> None:
    database: Database = sensor._database  # type: ignore[assignment]
    views = {"n": {"map": {"fields": {"n": "asc"}}, "reduce": "_count"}}
    for name, options in (("by", {}), ("all", {"options": {"partitioned": False}})):
        await (await database.create(f"_design/{name}", data={"language": "query", "views": views, **options})).save()
    inside = await sensor.view("by", "n").get(group_level=1)
    assert [(row["key"], row.get("value")) for row in inside.rows] == [([0], 1), ([1], 1), ([2], 1)]
    assert (await sensor.view("by", "n").get()).rows == [{"key": None, "value": 3}]
    assert (await database.view("all", "n").get()).rows == [{"key": None, "value": 4}]
    with pytest.raises(BadRequestError, match="is not supported in this design doc"):
        await sensor.view("all", "n").get()


@pytest.mark.parametrize("name", ["", ".", "..", "_x", "a:b"])
def test_a_name_that_no_partition_may_have_is_refused(name: str) -> None:
    class Place:
        session = None
        path = ("db",)

    with pytest.raises(BadRequestError):
        Partition(Place(), name)  # type: ignore[arg-type]
