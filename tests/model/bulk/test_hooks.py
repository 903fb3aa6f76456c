"""Hooks, verbs of a model and tombstones in bulk writes."""

import asyncio

import pytest

from couchmodel import (
    ConflictError,
    Delete,
    DocumentError,
    NotFoundError,
    Repository,
    SoftDelete,
    after_delete,
    after_save,
    before_save,
)
from tests.model.bulk.models import Careful, Hooked, Note, names


async def test_a_hook_that_raises_leaves_all_documents_of_its_chunk_as_they_were(notes: Repository[Note]) -> None:
    hooked = Repository(Hooked, notes.database)
    documents = [Hooked(id="a"), Hooked(id="b", text="bad"), Hooked(id="c")]
    for source in (documents, iter(documents)):
        with pytest.raises(ValueError, match="a bad text"):
            await hooked.save_all(source, on_error="collect")
        assert [(each.saves, each.rev) for each in documents] == [(0, None)] * 3
    assert await names(notes) == []


async def test_a_hook_may_refuse_its_document_alone(notes: Repository[Note]) -> None:
    hooked = Repository(Hooked, notes.database)
    documents = [Hooked(id="a"), Hooked(id="b", text="refused")]
    report = await hooked.save_all(documents, on_error="collect")
    assert [(each.id, each.saves) for each in report.saved] == [("a", 1)]
    assert [(each.id, each.saves) for each, _ in report.refused] == [("b", 0)]


async def test_a_document_that_does_not_fit_after_its_hooks_is_as_it_was(notes: Repository[Note]) -> None:
    class Greedy(Hooked):
        @before_save
        def grow(self) -> None:
            self.rank = -1 if self.text == "grow" else self.rank

    greedy = Repository(Greedy, notes.database)
    documents = [Greedy(id="a"), Greedy(id="b", text="grow")]
    with pytest.raises(DocumentError, match="'b'"):
        await greedy.save_all(documents)
    assert [(each.saves, each.rank) for each in documents] == [(0, 0), (0, 0)]
    await greedy.save_all(documents, on_error="collect")
    with pytest.raises(DocumentError, match="'b'"):
        await greedy.save(documents[1])
    assert [(each.saves, each.rank) for each in documents] == [(1, 0), (0, 0)]


async def test_a_hook_that_raises_before_deletions_deletes_nothing(notes: Repository[Note]) -> None:
    hooked = Repository(Hooked, notes.database)
    documents = [Hooked(id="a"), Hooked(id="b", text="kept")]
    await hooked.save_all(documents)
    with pytest.raises(ValueError, match="it is kept"):
        await hooked.delete_all(documents)
    with pytest.raises(ValueError, match="it is kept"):
        await hooked.delete(documents[1])
    assert [each.saves for each in documents] == [1, 1]
    assert await names(notes) == ["a", "b"]


async def test_a_save_that_is_cancelled_in_a_hook_leaves_all_as_it_was(notes: Repository[Note]) -> None:
    class Slow(Hooked):
        @before_save
        async def wait(self) -> None:
            if self.id == "b":
                await asyncio.sleep(60)

    documents = [Slow(id="a"), Slow(id="b")]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await Repository(Slow, notes.database).save_all(documents)
    assert [each.saves for each in documents] == [0, 0]
    assert await names(notes) == []


async def test_a_save_of_the_models_own_is_used(notes: Repository[Note]) -> None:
    careful = Repository(Careful, notes.database)
    documents = [Careful(id="a"), Careful(id="b")]
    report = await careful.save_all(documents)
    assert (report.saved, [each.rank for each in documents]) == (documents, [1, 1])
    assert [result.error async for result in careful.bulk(documents)] == [None, None]
    assert await careful.find(Careful.rank == 2).update(Careful.text.set("x")) == 2
    assert [(each.rank, each.text) for each in await careful.find()] == [(3, "x"), (3, "x")]


async def test_a_save_of_the_models_own_is_used_by_edits(notes: Repository[Note]) -> None:
    careful = Repository(Careful, notes.database)
    await careful.get_or_create(Careful(id="a"))
    async with careful.edit("a") as document:
        document.text = "x"
    assert document.rank == 2
    await document.update(text="y")
    assert [each.rank for each in await careful.find()] == [3]


async def test_a_delete_of_the_models_own_is_used(notes: Repository[Note]) -> None:
    careful = Repository(Careful, notes.database)
    for delete in (careful.delete_all, lambda _: careful.find().delete()):
        documents = [Careful(id="a"), Careful(id="b")]
        await careful.save_all(documents)
        await delete(documents)
        with pytest.raises(NotFoundError, match="deleted"):
            await careful.get("a")
    revisions = await notes.database.session.get((*notes.database.path, "a"), {"open_revs": "all", "revs": "true"})
    assert revisions[0]["ok"]["_revisions"]["start"] == 6


async def test_what_a_save_of_the_models_own_refuses_is_told_beside_others(notes: Repository[Note]) -> None:
    await notes.save(Note(id="b"))
    documents: list[Note] = [Note(id="a"), Careful(id="b"), Note(id="b")]
    report = await notes.save_all(documents, on_error="collect")
    assert [each.id for each in report.saved] == ["a"]
    assert [(type(each), type(error)) for each, error in report.refused] == [
        (Careful, ConflictError),
        (Note, ConflictError),
    ]
    other = Careful(id="b")
    await Repository(Careful, notes.database).save_all([Careful(id="c"), other], on_error="collect")
    assert await names(notes) == ["a", "b", "c"]


async def test_hooks_run_after_a_save_for_what_was_stored(notes: Repository[Note]) -> None:
    told: list[str] = []

    class Told(Note):
        @after_save
        def tell(self) -> None:
            told.append(self.id)

    await notes.save(Note(id="b"))
    await Repository(Told, notes.database).save_all([Told(id="a"), Told(id="b")], on_error="collect")
    assert told == ["a"]


async def test_a_hook_that_raises_after_a_write_keeps_no_other_document_from_its_hooks(notes: Repository[Note]) -> None:
    told: list[str] = []

    class Told(Note):
        @after_save
        @after_delete
        def tell(self) -> None:
            told.append(self.id)
            if self.id in "bc":
                raise ValueError(f"no mail for {self.id}")

    documents = [Told(id=id) for id in "abcd"]
    repository = Repository(Told, notes.database)
    for write in (repository.save_all, repository.delete_all):
        with pytest.raises(ExceptionGroup) as caught:
            await write(documents, on_error="collect")
        assert [str(error) for error in caught.value.exceptions] == ["no mail for b", "no mail for c"]
        assert told == list("abcd")
        told.clear()
    assert await names(notes) == []


class Kept(SoftDelete, Note):
    pass


async def test_many_deletions_keep_what_a_model_keeps(notes: Repository[Note]) -> None:
    kept = Repository(Kept, notes.database)
    documents = [Kept(id=id, text=f"text {id}") for id in "abc"]
    await kept.save_all(documents)
    await kept.delete_all([documents[0], Kept(id="b", rev=documents[1].rev)])
    assert [result.error async for result in kept.bulk([Delete(documents[2])])] == [None]
    assert sorted([each.document.text async for each in kept.deleted()]) == ["text a", "text b", "text c"]
