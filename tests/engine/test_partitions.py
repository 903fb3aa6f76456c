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


async def test_a_view_stays_inside(live: None, sensor: Partition) -> None:
    database: Database = sensor._database  # type: ignore[assignment]
    design = await database.design_doc("by")
    await design.create_view("n", "function (doc) { emit(doc.n, null); }")
    assert [key async for key, _ in sensor.view("by", "n").aitems()] == [0, 1, 2]


@pytest.mark.parametrize("name", ["", ".", "..", "_x", "a:b"])
def test_a_name_that_no_partition_may_have_is_refused(name: str) -> None:
    class Place:
        session = None
        path = ("db",)

    with pytest.raises(BadRequestError):
        Partition(Place(), name)  # type: ignore[arg-type]
