"""Many documents together: saved, deleted and loaded in chunks, with a result for each."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, ClassVar

import pytest

from couchmodel import (
    Attachment,
    BackLink,
    BadRequestError,
    BulkError,
    ConfigurationError,
    ConflictError,
    CouchModel,
    Delete,
    DocumentError,
    Field,
    File,
    Link,
    Mapped,
    NotFoundError,
    ProtocolError,
    QueryError,
    Repository,
    SoftDelete,
    after_delete,
    after_save,
    attachment,
    before_delete,
    before_save,
)
from couchmodel._model.store.bulk import chunks
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Database, Session

LENGTH = 10


class Note(CouchModel):
    text: Mapped[str] = Field(default="")
    rank: Mapped[int] = Field(default=0, ge=0)


class Hooked(Note):
    saves: Mapped[int] = Field(default=0)

    @before_save
    def count(self) -> None:
        self.saves += 1
        if self.text == "bad":
            raise ValueError("a bad text")
        if self.text == "refused":
            raise DocumentError("a text to refuse", model="Hooked", document_id=self.id, errors=[])

    @before_delete
    def mark(self) -> None:
        self.saves = -1
        if self.text == "kept":
            raise ValueError("it is kept")


class Careful(Note):
    """A model with verbs of its own."""

    async def save(self, *, force: bool = False) -> None:
        self.rank += 1
        await super().save(force=force)

    async def delete(self) -> None:
        self.text = "deleted with care"
        await super().save()
        await super().delete()


class Author(CouchModel, type="author"):
    books: ClassVar[BackLink["Book"]] = BackLink("author", on_delete="refuse")


class Book(CouchModel, type="book"):
    author: Link[Author]


@pytest.fixture
def notes(database: Database, monkeypatch: pytest.MonkeyPatch) -> Repository[Note]:
    monkeypatch.setattr(chunks, "CHUNK", LENGTH)
    return Repository(Note, database)


def make(count: int) -> list[Note]:
    return [Note(id=f"n{n:03}", rank=n) for n in range(count)]


async def one_by_one(documents: Iterable[Any]) -> AsyncIterator[Any]:
    for document in documents:
        await asyncio.sleep(0)
        yield document


async def names(repository: Repository[Any]) -> list[str]:
    return [each.id async for each in repository.find().sort("id")]


# --- iterables of any length


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


# --- a result for each document


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


# --- the same object twice


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


# --- hooks


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


# --- verbs of a model's own


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


# --- tombstones that keep their document


class Kept(SoftDelete, Note):
    pass


async def test_many_deletions_keep_what_a_model_keeps(notes: Repository[Note]) -> None:
    kept = Repository(Kept, notes.database)
    documents = [Kept(id=id, text=f"text {id}") for id in "abc"]
    await kept.save_all(documents)
    await kept.delete_all([documents[0], Kept(id="b", rev=documents[1].rev)])
    assert [result.error async for result in kept.bulk([Delete(documents[2])])] == [None]
    assert sorted([each.document.text async for each in kept.deleted()]) == ["text a", "text b", "text c"]


# --- writes without an answer


@pytest.fixture
def answers(notes: Repository[Note], monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """What becomes of the next answers to bulk writes, which are carried out: None lets one pass."""
    outcomes: list[BaseException | None] = []
    send = Session.send

    async def lossy(session: Session, request: Request) -> Response:
        response = await send(session, request)
        if request.path[-1] == "_bulk_docs" and outcomes and (error := outcomes.pop(0)) is not None:
            raise error
        return response

    monkeypatch.setattr(Session, "send", lossy)
    return outcomes


LOST = [ProtocolError("cut off"), asyncio.CancelledError()]


@pytest.mark.parametrize("error", LOST)
async def test_documents_whose_answer_was_lost_can_be_saved_again(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(4)
    answers.append(error)
    with pytest.raises(type(error)):
        await notes.save_all(documents)
    assert [document.rev for document in documents] == [None] * 4
    documents[1].text = documents[2].text = "changed since"
    other = await notes.get("n002")
    await other.update(text="theirs")
    report = await notes.save_all(documents, on_error="collect")
    assert [document.id for document, _ in report.refused] == ["n002"]
    stored = await notes.get_many(["n000", "n001", "n003"])
    assert stored == [documents[0], documents[1], documents[3]]
    assert [each and each.rev for each in stored] == [documents[n].rev for n in (0, 1, 3)]
    documents[3].text = "once more"
    await documents[3].save()


@pytest.mark.parametrize("error", LOST)
async def test_what_was_stored_before_an_answer_was_lost_is_known(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(25)
    answers.extend([None, error])
    with pytest.raises(type(error)):
        await notes.save_all(iter(documents))
    assert [bool(document.rev) for document in documents] == [True] * 10 + [False] * 15
    assert (await notes.save_all(documents)).saved == documents
    assert len(await names(notes)) == 25


@pytest.mark.parametrize("error", LOST)
async def test_documents_whose_deletion_got_no_answer_can_be_deleted_again(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(3)
    await notes.save_all(documents)
    answers.append(error)
    with pytest.raises(type(error)):
        await notes.delete_all(documents)
    report = await notes.delete_all(documents)
    assert (report.deleted, [document.rev for document in documents]) == (documents, [None] * 3)
    await notes.save_all(documents)
    assert len(await names(notes)) == 3


@pytest.mark.parametrize("error", LOST)
async def test_a_deletion_is_not_taken_for_a_save_that_got_no_answer(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(2)
    await notes.save_all(documents)
    for document in documents:
        document.text = "new"
    answers.append(error)
    with pytest.raises(type(error)):
        await notes.save_all(documents)
    report = await notes.delete_all(documents, on_error="collect")
    assert (len(report.deleted), await names(notes)) == (2, [])


@pytest.mark.parametrize("error", LOST)
async def test_a_save_is_not_taken_for_a_deletion_that_got_no_answer(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(2)
    await notes.save_all(documents)
    answers.append(error)
    with pytest.raises(type(error)):
        await notes.delete_all(documents)
    for document in documents:
        document.text = "new"
    report = await notes.save_all(documents, on_error="collect")
    stored = await names(notes)
    assert [document.id for document in report.saved] == stored


class Pictured(Note):
    picture: Attachment = attachment()


@pytest.mark.parametrize("media_type", ["text/plain", "image/png"])
@pytest.mark.parametrize("second", [b"first", b"other", b"longer than the first"])
@pytest.mark.parametrize("error", LOST)
async def test_documents_with_files_can_be_saved_again(
    notes: Repository[Note],
    answers: list[BaseException | None],
    error: BaseException,
    media_type: str,
    second: bytes,
) -> None:
    pictured = Repository(Pictured, notes.database)
    document = Pictured(id="a")
    document.picture = File(b"first", media_type)
    answers.append(error)
    with pytest.raises(type(error)):
        await pictured.save_all([document])
    document.picture = File(second, media_type)
    await pictured.save_all([document])
    stored = await pictured.get("a")
    assert (await stored.picture.fetch(), stored.rev, document.is_changed) == (second, document.rev, False)
    assert await document.picture.fetch() == second
