"""Bulk writes have a result for each document, and refuse an object that comes twice."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from couchmodel import (
    BadRequestError,
    BulkError,
    ConfigurationError,
    ConflictError,
    Delete,
    DocumentError,
    Repository,
)
from couchmodel.engine import Database
from tests.model.bulk.models import LENGTH, Author, Book, Note, make, names, one_by_one


async def test_another_way_with_errors_is_refused(notes: Repository[Note]) -> None:
    wrong: Any = "skip"
    for write in (notes.save_all, notes.delete_all):
        with pytest.raises(ConfigurationError, match="on_error is 'raise' or 'collect', not 'skip'"):
            await write(make(1), on_error=wrong)
    assert await names(notes) == []


async def test_each_document_of_a_bulk_write_has_its_result(notes: Repository[Note]) -> None:
    old, stale = Note(id="old"), Note(id="stale")
    await notes.save_all([old, stale])
    other = await notes.get("stale")
    await other.update(rank=1)
    stale.rank, bad = 2, Note(id="bad").model_copy(update={"rank": -1})
    new = Note(id="new")
    documents: list[Note | Delete[Note]] = [new, Delete(old), bad, stale, Delete(Note(id="unstored")), Note(id="_x")]
    results = [each async for each in notes.bulk(documents)]
    assert [result.document.id for result in results] == ["new", "old", "bad", "stale", "unstored", "_x"]
    assert [type(result.error).__name__ for result in results] == [
        "NoneType",
        "NoneType",
        "DocumentError",
        "ConflictError",
        "ConfigurationError",
        "BadRequestError",
    ]
    assert await names(notes) == ["new", "stale"]


async def test_a_report_raises_its_errors_when_it_is_told_to(notes: Repository[Note]) -> None:
    await notes.save_all(make(2))
    report = await notes.save_all([Note(id="n001"), Note(id="new")], on_error="collect")
    with pytest.raises(BulkError, match="1 of 2 documents were refused") as caught:
        report.raise_for_errors()
    assert [type(error) for error in caught.value.exceptions] == [ConflictError]
    (await notes.save_all([Note()], on_error="collect")).raise_for_errors()
    gone = await notes.delete_all([Note(id="n000", rev="1-abc")], on_error="collect")
    with pytest.raises(BulkError, match="1 of 1"):
        gone.raise_for_errors()


async def test_a_document_that_does_not_fit_is_refused_alone_if_errors_are_collected(notes: Repository[Note]) -> None:
    documents = make(3)
    documents[1].rank = -1
    with pytest.raises(DocumentError, match="'n001'"):
        await notes.save_all(documents)
    assert await names(notes) == []
    report = await notes.save_all(documents, on_error="collect")
    assert report.saved == [documents[0], documents[2]]
    ((refused, error),) = report.refused
    assert refused is documents[1]
    assert "'n001'" in str(error)


async def test_conflicts_of_bulk_writes_have_all_versions(notes: Repository[Note]) -> None:
    documents = make(4)
    await notes.save_all(documents)
    for theirs in await notes.get_many(["n000", "n001"]):
        assert theirs is not None
        await notes.save(theirs.model_copy(update={"text": "theirs", "rank": theirs.rank + 7}))
    await notes.delete(await notes.get("n002"))
    raw = await notes.database["n003"]
    raw["rank"] = "no number"
    await raw.save()
    for document in documents:
        document.text = "mine"
    report = await notes.save_all(documents, on_error="collect")
    errors = [error for _, error in report.refused if isinstance(error, ConflictError)]
    assert [(each.mine.text, each.base.text, each.theirs and each.theirs.rank) for each in errors] == [
        ("mine", "", 7),
        ("mine", "", 8),
        ("mine", "", None),
        ("mine", "", None),
    ]
    assert errors[0].fields == {"text"}
    assert "does not fit the model" in str(errors[3])
    await notes.save_all([errors[0].merged(prefer="mine")])
    assert [(each.text, each.rank) for each in [await notes.get("n000")]] == [("mine", 7)]
    gone = await notes.delete_all([documents[1]], on_error="collect")
    assert [error.theirs.rank for _, error in gone.refused if isinstance(error, ConflictError)] == [8]


async def test_a_document_for_which_a_request_is_refused_is_refused_alone(notes: Repository[Note]) -> None:
    documents = [Note(id="a"), Note(id="b", rev="garbage"), Note(id="c")]
    with pytest.raises(BulkError, match="1 of 3") as caught:
        await notes.save_all(documents)
    assert [type(error) for error in caught.value.exceptions] == [BadRequestError]
    assert await names(notes) == ["a", "c"]


async def test_a_deletion_of_what_has_changed_is_refused_alone(notes: Repository[Note]) -> None:
    documents = make(3)
    await notes.save_all(documents)
    await (await notes.get("n001")).update(text="changed")
    with pytest.raises(BulkError, match="1 of 3"):
        await notes.delete_all(documents)
    assert await names(notes) == ["n001"]
    assert [document.rev is None for document in documents] == [True, False, True]


async def test_a_deletion_of_what_is_not_stored_is_refused_before_anything_is_sent(notes: Repository[Note]) -> None:
    stored = Note(id="a")
    await notes.save(stored)
    with pytest.raises(ConfigurationError, match="'b' cannot be deleted, because it is not stored"):
        await notes.delete_all([stored, Note(id="b")])
    assert await names(notes) == ["a"]


async def test_rules_of_links_hold_for_many_deletions(database: Database) -> None:
    authors, books = Repository(Author, database), Repository(Book, database)
    ada, bob = Author(id="ada"), Author(id="bob")
    await authors.save_all([ada, bob])
    await books.save(Book(id="notes", author="ada"))
    report = await authors.delete_all([ada, bob], on_error="collect")
    assert report.deleted == [bob]
    assert "link to it" in str(report.refused[0][1])
    changes = [change async for change in database.changes(doc_ids=["bob"], include_docs=True)]
    assert changes[0].json["doc"]["type"] == "author"


async def test_an_object_that_comes_twice_is_refused_before_anything_is_sent(notes: Repository[Note]) -> None:
    documents = make(25)
    with pytest.raises(ConfigurationError, match=r"'n003' is twice among the documents of save_all\(\)"):
        await notes.save_all([*documents, documents[3]])
    assert await names(notes) == []
    await notes.save_all(documents)
    with pytest.raises(ConfigurationError, match="twice"):
        await notes.delete_all([*documents, documents[3]])
    with pytest.raises(ConfigurationError, match="twice"):
        _ = [each async for each in notes.bulk([documents[0], Delete(documents[0])])]
    assert len(await names(notes)) == 25


@pytest.mark.parametrize("source", [iter, one_by_one])
async def test_an_object_that_an_iterator_gives_twice_is_refused_before_its_chunk_is_sent(
    notes: Repository[Note], source: Callable[[Iterable[Any]], Any]
) -> None:
    documents = make(15)
    with pytest.raises(ConfigurationError, match="'n003' is twice"):
        await notes.save_all(source([*documents, documents[3]]))
    assert len(await names(notes)) == LENGTH


async def test_two_objects_of_one_id_are_in_conflict(notes: Repository[Note]) -> None:
    report = await notes.save_all([Note(id="a", rank=1), Note(id="a", rank=2)], on_error="collect")
    assert [document.rank for document in report.saved] == [1]
    assert [type(error) for _, error in report.refused] == [ConflictError]
