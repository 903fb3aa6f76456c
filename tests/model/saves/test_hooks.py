"""Hooks: methods that run around saves, deletions and loads; and time stamps, which are made of them."""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import pytest
from pydantic import PrivateAttr

from couchmodel import (
    Attachment,
    BulkError,
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    Delete,
    Field,
    File,
    Link,
    Mapped,
    NotFoundError,
    Repository,
    Timestamps,
    after_delete,
    after_load,
    after_save,
    attachment,
    before_delete,
    before_insert,
    before_save,
)

CALLS: list[str] = []


class Base(CouchModel):
    name: Mapped[str] = Field(default="")

    @before_save
    def first(self) -> None:
        CALLS.append("first")


class Page(Base):
    slug: Mapped[str] = Field(default="")
    views: Mapped[int] = Field(default=0, ge=0)

    @before_insert
    async def begin(self) -> None:
        CALLS.append("begin")

    @before_save
    def make_slug(self) -> None:
        CALLS.append("slug")
        self.slug = self.name.lower().replace(" ", "-")
        if self.name == "bad":
            raise ValueError("a bad name")

    @after_save
    async def tell(self) -> None:
        CALLS.append(f"saved {self.rev and self.rev[0]}")

    @before_delete
    def guard(self) -> None:
        CALLS.append("delete")
        if self.name == "kept":
            raise ValueError("it is kept")

    @after_delete
    def forget(self) -> None:
        CALLS.append("deleted")


class Loud(CouchModel):
    name: Mapped[str] = Field(default="")

    @after_load
    def shout(self) -> None:
        self.name = self.name.upper()


class Failing(CouchModel):
    """A document whose hooks fail after it was written."""

    text: Mapped[str] = Field(default="")
    count: Mapped[int] = Field(default=0, merge="sum")
    file: Attachment = attachment()

    @after_save
    def fail(self) -> None:
        CALLS.append(self.id)
        if self.text == "bad":
            raise ERRORS.setdefault(self.id, ConflictError(f"of the hook of {self.id!r}"))

    @after_delete
    def fail_again(self) -> None:
        self.fail()


ERRORS: dict[str, ConflictError] = {}


class Pointer(CouchModel):
    loud: Link[Loud]


class Note(Timestamps):
    text: Mapped[str] = Field(default="")


@pytest.fixture
async def pages(couch: Connection) -> AsyncIterator[Repository[Page]]:
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
    CALLS.clear()
    yield Repository(Page, database)
    with suppress(NotFoundError):
        await database.delete()


async def test_hooks_run_in_the_order_of_classes(pages: Repository[Page]) -> None:
    page = Page(id="a", name="A Page")
    await pages.save(page)
    assert CALLS == ["begin", "first", "slug", "saved 1"]
    assert (await pages.get("a")).slug == "a-page"
    CALLS.clear()
    await pages.save(page)
    assert CALLS == []
    page.views = 1
    await pages.save(page)
    assert CALLS == ["first", "slug", "saved 2"]
    CALLS.clear()
    await pages.delete(page)
    assert CALLS == ["delete", "deleted"]


async def test_hooks_run_in_bulk_too(pages: Repository[Page]) -> None:
    await pages.save_all([Page(id=id, name=f"Page {id}") for id in "ab"])
    assert CALLS == ["begin", "first", "slug", "begin", "first", "slug", "saved 1", "saved 1"]
    assert [page.slug for page in await pages.find().sort("id")] == ["page-a", "page-b"]
    CALLS.clear()
    await pages.find().update(Page.views.set(3))
    assert CALLS == ["first", "slug", "first", "slug", "saved 2", "saved 2"]
    CALLS.clear()
    assert await pages.find().delete() == 2
    assert CALLS == ["delete", "delete", "deleted", "deleted"]


async def test_a_hook_that_raises_leaves_all_as_it_was(pages: Repository[Page]) -> None:
    page = Page(id="a", name="good")
    await pages.save(page)
    page.name = "bad"
    with pytest.raises(ValueError, match="a bad name"):
        await pages.save(page)
    assert (page.name, page.slug) == ("bad", "good")
    assert (await pages.get("a")).name == "good"
    kept = Page(id="b", name="kept")
    await pages.save(kept)
    with pytest.raises(ValueError, match="it is kept"):
        await pages.delete(kept)
    assert (await pages.get("b")).name == "kept"


async def test_a_document_may_have_what_cannot_be_copied(pages: Repository[Page]) -> None:
    class Locked(Page):
        _lock: Any = PrivateAttr(default_factory=threading.Lock)

        @cached_property
        def other_lock(self) -> Any:
            return threading.Lock()

    locked = Repository(Locked, pages.database)
    document = Locked(id="a", name="A b")
    assert document.other_lock
    await locked.save(document)
    await document.update(name="C d")
    await document.update({"views": 5})
    assert await locked.find().update(Locked.views.set(6)) == 1
    await document.refresh()
    assert (document.slug, document.views) == ("c-d", 6)
    document.name = "bad"
    with pytest.raises(ValueError, match="a bad name"):
        await locked.save(document)
    assert document.slug == "c-d"


@pytest.fixture
def failing(pages: Repository[Page]) -> Repository[Failing]:
    ERRORS.clear()
    return Repository(Failing, pages.database)


async def _edit(failing: Repository[Failing], document: Failing) -> None:
    async with failing.edit(document.id) as edited:
        edited.text = document.text


WRITES: dict[str, Callable[[Repository[Failing], Failing], Awaitable[Any]]] = {
    "save": lambda failing, document: failing.save(document),
    "save with force": lambda failing, document: failing.save(document, force=True),
    "update": lambda _, document: document.update(count=2),
    "edit": _edit,
    "delete": lambda failing, document: failing.delete(document),
    "save_all": lambda failing, document: failing.save_all([document]),
    "delete_all": lambda failing, document: failing.delete_all([document]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_an_error_of_a_hook_after_a_write_is_none_of_the_write(
    failing: Repository[Failing], write: Callable[[Repository[Failing], Failing], Awaitable[Any]]
) -> None:
    document = Failing(id="a")
    await failing.save(document)
    CALLS.clear()
    document.text = "bad"
    with pytest.raises(ConflictError) as caught:
        await write(failing, document)
    assert (caught.value, CALLS) == (ERRORS["a"], ["a"])
    stored = await failing.get_or_none("a")
    assert stored is None or (stored.text, (stored.rev or "")[:2]) == ("bad", "2-")


async def test_an_error_of_a_hook_after_a_creation_is_none_of_the_creation(failing: Repository[Failing]) -> None:
    with pytest.raises(ConflictError) as caught:
        await failing.get_or_create(Failing(id="a", text="bad"))
    assert caught.value is ERRORS["a"]


async def test_no_error_of_a_hook_in_bulk_is_lost(failing: Repository[Failing]) -> None:
    await failing.save(Failing(id="taken"))
    CALLS.clear()
    large = Failing(id="large", text="bad")
    large.file = File(b"x" * 200_000, "text/plain")
    taken = Failing(id="taken", text="bad")
    with pytest.raises(ExceptionGroup) as caught:
        await failing.save_all(
            [Failing(id="a", text="bad"), Failing(id="b"), taken, Failing(id="c", text="bad"), large]
        )
    *hooks, refused = caught.value.exceptions
    assert hooks == [ERRORS[id] for id in ("a", "c", "large")]
    assert isinstance(refused, BulkError)
    (error,) = refused.exceptions
    assert isinstance(error, ConflictError)
    assert (error.mine, error.theirs) == (taken, await failing.get("taken"))
    assert CALLS == ["a", "b", "c", "large"]
    stored = [each and each.text for each in await failing.get_many(["a", "b", "taken", "c", "large"])]
    assert stored == ["bad", "", "", "bad", "bad"]


async def test_a_hook_that_fails_after_a_save_keeps_no_document_of_a_chunk_from_its_deletion(
    failing: Repository[Failing],
) -> None:
    doomed = [Failing(id="a"), Failing(id="b")]
    await failing.save_all(doomed)
    for each in doomed:
        each.text = "bad"
    new = Failing(id="c", text="bad")
    with pytest.raises(ExceptionGroup) as caught:
        _ = [each async for each in failing.bulk([new, *map(Delete, doomed)])]
    assert list(caught.value.exceptions) == [ERRORS[id] for id in ("c", "a", "b")]
    assert [each and each.text for each in await failing.get_many(["a", "b", "c"])] == [None, None, "bad"]


async def test_no_hook_tells_of_a_save_that_was_refused(pages: Repository[Page]) -> None:
    await pages.save(Page(id="a"))
    CALLS.clear()
    with pytest.raises(BulkError):
        await pages.save_all([Page(id="a"), Page(id="b")])
    assert CALLS.count("saved 1") == 1


async def test_a_save_that_was_cancelled_runs_its_last_hook_when_it_is_repeated(
    pages: Repository[Page], lost: Callable[[BaseException], None]
) -> None:
    page = Page(id="a", name="A")
    lost(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await pages.save(page)
    assert "saved 1" not in CALLS
    await pages.save(page)
    assert CALLS[-1] == "saved 1"


async def test_a_hook_runs_after_each_load(pages: Repository[Page]) -> None:
    louds = Repository(Loud, pages.database)
    await louds.save(Loud(id="a", name="quiet"))
    assert (await louds.get("a")).name == "QUIET"
    assert [each.name for each in await louds.find()] == ["QUIET"]


async def test_a_hook_runs_after_a_document_is_loaded_through_a_link(pages: Repository[Page]) -> None:
    louds, pointers = Repository(Loud, pages.database), Repository(Pointer, pages.database)
    await louds.save(Loud(id="a", name="quiet"))
    await pointers.save(Pointer(id="p", loud="a"))
    (pointer,) = await pointers.find({"loud": "a"}).prefetch(Pointer.loud)
    assert pointer.loud.document is not None
    assert pointer.loud.document.name == "QUIET"
    assert [each and each.name for each in await louds.get_many(["a"])] == ["QUIET"]


async def test_documents_know_when_they_were_stored(pages: Repository[Page]) -> None:
    notes = Repository(Note, pages.database)
    begun = datetime.now(UTC)
    note = Note(id="n")
    await notes.save(note)
    assert note.created_at == note.updated_at >= begun
    before = note.updated_at
    await notes.save(note)
    assert note.updated_at == before
    note.text = "changed"
    await notes.save(note)
    assert note.updated_at > note.created_at
    old = Note(id="old", created_at=datetime(2001, 1, 1, tzinfo=UTC))
    await notes.save(old)
    assert (await notes.get("old")).created_at == datetime(2001, 1, 1, tzinfo=UTC)


async def test_a_document_from_before_the_time_stamps_is_not_changed(pages: Repository[Page]) -> None:
    await (await pages.database.create("old", data={"text": "x"})).save()
    notes = Repository(Note, pages.database)
    note = await notes.get("old")
    assert (note.is_changed, note.changed_fields()) == (False, set())
    await notes.save(note)
    assert (note.rev or "").startswith("1-")
    note.text = "y"
    assert note.changed_fields() == {"text"}
    await notes.save(note)
    assert (await notes.get("old")).created_at == note.created_at
    note.created_at = datetime(2020, 1, 1, tzinfo=UTC)
    assert note.changed_fields() == {"created_at"}


def test_what_cannot_be_a_hook_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="asynchronous"):

        class Slow(CouchModel):  # pyright: ignore[reportUnusedClass]
            @after_load
            async def wait(self) -> None:
                """Wait."""

    with pytest.raises(ConfigurationError, match="directly above"):

        class Static(CouchModel):  # pyright: ignore[reportUnusedClass]
            @before_save
            @staticmethod
            def wait() -> None:
                """Wait."""
