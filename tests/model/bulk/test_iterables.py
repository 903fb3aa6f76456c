"""Many documents of iterables of any length: saved, deleted and loaded in chunks."""

import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from couchmodel import (
    ConfigurationError,
    QueryError,
    Repository,
)
from couchmodel._model.store.bulk import chunks
from tests.model.bulk.models import LENGTH, Note, make, names, one_by_one


@pytest.mark.parametrize("source", [list, tuple, iter, one_by_one])
async def test_documents_of_any_iterable_are_saved_and_deleted(
    notes: Repository[Note], source: Callable[[Iterable[Any]], Any]
) -> None:
    documents = make(25)
    seen: list[int] = []
    report = await notes.save_all(source(documents), on_progress=seen.append)
    assert (report.saved, report.refused) == (documents, [])
    assert all(document.rev for document in documents)
    assert seen == ([25] if source in (list, tuple) else [10, 20, 25])
    found = await notes.get_many(source([each.id for each in documents]), on_progress=seen.append)
    assert (found, seen[-1]) == (documents, 25)
    gone = await notes.delete_all(source(documents), on_progress=seen.append)
    assert (gone.deleted, gone.refused, seen[-1]) == (documents, [], 25)
    assert {document.rev for document in documents} == {None}
    assert await names(notes) == []


@pytest.mark.parametrize("source", [list, tuple, iter, one_by_one])
async def test_an_empty_iterable_is_nothing_to_do(
    notes: Repository[Note], source: Callable[[Iterable[Any]], Any]
) -> None:
    assert (await notes.save_all(source([]))).saved == []
    assert (await notes.delete_all(source([]))).deleted == []
    assert await notes.get_many(source([])) == []
    assert [each async for each in notes.bulk(source([]))] == []


async def test_a_query_is_an_iterable_too(notes: Repository[Note]) -> None:
    await notes.save_all(make(25))
    assert len((await notes.delete_all(notes.find(Note.rank >= 5))).deleted) == 20
    assert len(await names(notes)) == 5


async def test_an_iterator_is_read_no_further_than_a_chunk(notes: Repository[Note]) -> None:
    read, ahead, done = 0, list[int](), list[int]([0])

    async def documents() -> AsyncIterator[Note]:
        nonlocal read
        for document in make(45):
            read += 1
            ahead.append(read - done[-1])
            yield document

    await notes.save_all(documents(), on_progress=done.append)
    assert (max(ahead), done[-1]) == (LENGTH, 45)


async def test_a_bulk_write_holds_two_chunks_at_most(notes: Repository[Note]) -> None:
    made: list[weakref.ref[Note]] = []
    alive: list[int] = []

    async def documents() -> AsyncIterator[Note]:
        for n in range(60):
            document = Note(id=f"n{n}", text="x")
            made.append(weakref.ref(document))
            alive.append(sum(each() is not None for each in made))
            yield document

    async for result in notes.bulk(documents()):
        assert result.error is None
    gc.collect()
    assert max(alive) <= 2 * LENGTH + 1


async def test_chunks_of_large_documents_are_shorter(notes: Repository[Note], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_MAX_BYTES", 5_000)
    monkeypatch.setattr(chunks, "_SAMPLE", 2)
    seen: list[int] = []
    sizes = [1_000] * 10 + [9_000] * 2 + [10] * 3
    await notes.save_all((Note(text="x" * size) for size in sizes), on_progress=seen.append)
    assert seen == [5, 10, 11, 12, 15]


async def test_a_caller_that_stops_leaves_the_rest_unwritten(notes: Repository[Note]) -> None:
    async for result in notes.bulk(iter(make(25))):
        if result.document.id == "n010":
            break
    assert len(await names(notes)) == 20


@pytest.mark.parametrize("wrong", [Note(id="a"), "abc", None, 3])
async def test_what_is_no_iterable_of_documents_is_refused(notes: Repository[Note], wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"save_all\(\) takes several documents, as in \[pie, soup\]"):
        await notes.save_all(wrong)
    with pytest.raises(ConfigurationError, match=r"delete_all\(\) takes several"):
        await notes.delete_all(wrong)
    with pytest.raises(ConfigurationError, match=r"bulk\(\) takes several"):
        await anext(notes.bulk(wrong))
    with pytest.raises((ConfigurationError, QueryError), match=r"get_many\(\) takes several ids"):
        await notes.get_many(wrong)
