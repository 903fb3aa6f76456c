"""A bucket in a database of models: neither sees the documents of the other."""

from typing import Any, ClassVar

import pytest

from couchmodel import Connection, CouchModel, Field, Index, Mapped, Repository, View, using
from couchmodel.bucket import Bucket
from couchmodel.engine import Database
from tests.bucket.files import LONG, names, read, stored_ids


class Note(CouchModel, indexes=[Index("filename")]):
    filename: Mapped[str] = Field(default="")
    text: Mapped[str | None] = Field(default=None)

    by_name: ClassVar[View[str, None, None]] = View("filename")


class TypedNote(CouchModel, type="note"):
    text: Mapped[str | None] = Field(default=None)


@pytest.fixture
async def files(bucket: Bucket, small_parts: int) -> Bucket:
    """A bucket with a small and a large file."""
    await bucket.upload_from_stream("small", b"x")
    await bucket.upload_from_stream("large", LONG)
    return bucket


@pytest.mark.parametrize("model", [Note, TypedNote])
async def test_models_do_not_see_files(files: Bucket, database: Database, model: Any) -> None:
    notes = Repository(model, database)
    for id in ("~last", "a first", "couchmodel", "couchmodel.bucket", "couchmodel.bucket;"):
        await notes.save(model(id=id, text="mine"))
    expected = sorted(["~last", "a first", "couchmodel", "couchmodel.bucket", "couchmodel.bucket;"])
    assert sorted([note.id async for note in notes.find()]) == expected
    assert [note.id async for note in notes.find().sort("id")] == expected
    assert await notes.find().count() == 5
    assert await notes.find(model.text.is_none()).to_list() == []
    assert [note.id async for note in notes.find(model.id > "b").sort("id")] == expected[1:]
    page = await notes.find().page(2)
    assert [note.id for note in page.items] == expected[:2]
    assert [note.id for note in (await notes.find().page(9, page.next)).items] == expected[2:]
    assert [change.id async for change in notes.changes(live=False) if change.document is not None] != []
    assert {change.id async for change in notes.changes(live=False)} == set(expected)


async def test_deletions_and_updates_of_models_spare_files(files: Bucket, database: Database) -> None:
    notes = Repository(Note, database)
    await notes.save(Note(id="mine"))
    before = await stored_ids(database)
    assert await notes.find().update(Note.text.set("changed")) == 1
    assert await notes.find().delete() == 1
    assert await stored_ids(database) == [id for id in before if id != "mine"]
    assert sorted(await names(files.find())) == ["large", "small"]


async def test_views_and_indexes_of_models_leave_files_out(
    files: Bucket, couch: Connection, database: Database
) -> None:
    with using(database):
        await couch.apply(Note)
        await Note(id="mine", filename="small").save()
        assert [row.id async for row in Note.by_name.rows()] == ["mine"]
        assert [note.id async for note in Note.find(Note.filename == "small")] == ["mine"]
        assert [note.id async for note in Note.find(Note.filename != "x")] == ["mine"]


async def test_files_are_not_models(files: Bucket, database: Database) -> None:
    await Repository(Note, database).save(Note(id="mine", filename="mine"))
    assert sorted(await names(files.find())) == ["large", "small"]
    assert await files.find({"filename": "mine"}).to_list() == []


async def test_a_guard_of_a_model_lets_files_pass(couch: Connection, bucket: Bucket, database: Database) -> None:
    class Guarded(CouchModel, guard=True):
        text: Mapped[str]

    with using(database):
        await couch.apply(Guarded)
    file_id = await bucket.upload_from_stream("f", LONG)
    await bucket.rename(file_id, "g")
    assert await read(bucket, file_id) == LONG
