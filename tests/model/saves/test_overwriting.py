"""Documents stored in place of others, copied, and read in old revisions."""

import asyncio
from functools import cached_property
from typing import Any

import pytest
from pydantic import ConfigDict, create_model

from couchmodel import (
    BadRequestError,
    BulkError,
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    DocumentError,
    Field,
    File,
    ForbiddenError,
    Mapped,
    NotFoundError,
    QueryError,
    Repository,
    before_save,
)
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from tests.models import Author, Recipe


class Page(CouchModel, id="page:{slug}"):
    slug: Mapped[str]
    views: Mapped[int] = Field(default=0)


# --- forced saves


async def test_a_forced_save_replaces_what_others_have_stored(recipes: type[Recipe], database: Database) -> None:
    pie = recipes(id="pie", title="mine", rating=3)
    await pie.save()
    other = await database["pie"]
    other.update({"title": "theirs", "rating": 5, "source": {"page": 7}})
    await other.save()
    await other.attachment("photo").save(b"x", "image/png")
    pie.rating = 4
    await pie.save(force=True)
    stored = await recipes.get("pie")
    assert (stored, stored.rev, stored.title, stored.rating) == (pie, pie.rev, "mine", 4)
    assert (await database["pie"])["source"] == {"page": 7}
    assert await pie.photo.fetch() == b"x"
    await pie.save(force=True)
    assert pie.rev == stored.rev


async def test_a_forced_save_stores_what_was_deleted(recipes: type[Recipe]) -> None:
    pie = recipes(id="pie", title="mine")
    await pie.save()
    await (await recipes.get("pie")).delete()
    with pytest.raises(ConflictError):
        await recipes(id="pie", rev=pie.rev, title="form").save()
    await pie.save(force=True)
    assert (await recipes.get("pie")).title == "mine"


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_forced_save_needs_no_revision(recipes: type[Recipe], is_stored: bool) -> None:
    if is_stored:
        await recipes(id="pie", title="first", rating=2).save()
    await recipes(id="pie", title="second").save(force=True)
    stored = await recipes.get("pie")
    assert (stored.title, stored.rating) == ("second", 0)


async def test_a_forced_save_replaces_what_does_not_fit_the_model(recipes: type[Recipe], database: Database) -> None:
    raw = await database.create("pie", data={"title": 7, "author": {"name": 1}, "rating": "bad", "source": "book"})
    await raw.save()
    await raw.attachment("photo").save(b"x", "image/png")
    pie = recipes(id="pie", title="right", author=Author(name="Ada"))
    await pie.save(force=True)
    stored = await recipes.get("pie")
    assert (stored.title, stored.author, stored.rating, stored.rev) == ("right", Author(name="Ada"), 0, pie.rev)
    assert ((await database["pie"])["source"], await stored.photo.fetch()) == ("book", b"x")


@pytest.mark.parametrize("stored", [None, {"title": "theirs"}, {"title": 7}])
async def test_a_forced_save_stores_files_that_were_assigned(
    recipes: type[Recipe], database: Database, stored: dict[str, Any] | None
) -> None:
    if stored is not None:
        raw = await database.create("pie", data=stored)
        await raw.save()
        await raw.attachment("notes").save(b"kept", "text/plain")
    pie = recipes(id="pie", title="mine")
    pie.photo = File(b"x", "image/png")
    await pie.save(force=True)
    loaded = await recipes.get("pie")
    assert (loaded.title, loaded.rev, await loaded.photo.fetch()) == ("mine", pie.rev, b"x")
    attachments = (await database.session.get((*database.path, "pie")))["_attachments"]
    assert sorted(attachments) == (["photo"] if stored is None else ["notes", "photo"])


async def test_a_forced_save_of_a_model_that_forbids_members_can_be_read(database: Database) -> None:
    class Tight(CouchModel):
        model_config = ConfigDict(extra="forbid")
        title: Mapped[str]

    await (await database.create("pie", data={"title": "x", "foreign": 1})).save()
    tights = Repository(Tight, database)
    await tights.save(Tight(id="pie", title="right"), force=True)
    assert (await tights.get("pie")).title == "right"
    assert "foreign" not in (await database["pie"]).json


async def test_forced_saves_at_once_all_succeed(recipes: type[Recipe]) -> None:
    pies = [recipes(id="pie", title=f"{n}") for n in range(8)]
    await asyncio.gather(*(pie.save(force=True) for pie in pies))
    stored = await recipes.get("pie")
    assert [pie.title for pie in pies if pie.rev == stored.rev] == [stored.title]


async def test_a_forced_save_leaves_the_other_versions_of_a_replication(
    recipes: type[Recipe], database: Database
) -> None:
    versions = [encode({"_id": "pie", "_rev": f"1-{c * 32}", "title": c}).decode() for c in "ab"]
    body = b'{"new_edits":false,"docs":[%b]}' % ",".join(versions).encode()
    await database.session.json(Request("POST", (*database.path, "_bulk_docs"), body=body))
    await recipes(id="pie", title="mine").save(force=True)
    (other,) = await recipes.repository().conflicts(await recipes.get("pie"))
    assert other.title == "a"


async def test_a_forced_save_that_is_refused_leaves_the_document_as_it_was(recipes: type[Recipe]) -> None:
    pie = recipes(id="pie", title="mine")
    await pie.save()
    rev = pie.rev
    await (await recipes.get("pie")).update(title="theirs")
    pie.rating = 9
    with pytest.raises(DocumentError, match="rating"):
        await pie.save(force=True)
    assert pie.rev == rev
    pie.rating = 3
    with pytest.raises(ConflictError) as caught:
        await pie.save()
    assert caught.value.base.title == "mine"


async def test_hooks_run_in_forced_saves(database: Database) -> None:
    class Hooked(CouchModel):
        title: Mapped[str] = Field(default="")
        saves: Mapped[int] = Field(default=0)

        @before_save
        def count(self) -> None:
            self.saves += 1
            if self.title == "bad":
                raise ValueError("a bad title")

    hooked = Repository(Hooked, database)
    await (await database.create("a", data={"title": 3})).save()
    document = Hooked(id="a", title="bad")
    for _ in range(2):  # what is stored does not fit the model, and then does
        with pytest.raises(ValueError, match="a bad title"):
            await hooked.save(document, force=True)
        assert (document.rev, document.saves) == (None, 0)
        await hooked.save(Hooked(id="a", title="good"), force=True)
    assert (await hooked.get("a")).saves == 1


async def test_a_forced_save_in_another_database_is_refused(
    couch: Connection, recipes: type[Recipe], database: Database
) -> None:
    pie = recipes(id="pie", title="mine")
    await pie.save()
    other = Repository(Recipe, couch.database(f"{database.id}-other"))
    with pytest.raises(ConfigurationError, match="comes from database"):
        await other.save(pie, force=True)
    with pytest.raises(NotFoundError, match="create it with"):
        await other.save(recipes(id="pie", title="x"), force=True)


# --- refused changes


async def test_a_field_that_makes_the_id_cannot_change_after_the_save(database: Database) -> None:
    pages = Repository(Page, database)
    page = Page(slug="sea")
    await pages.save(page)
    with pytest.raises(DocumentError, match="'page:lake'"):
        await page.update(slug="lake", views=3)
    assert (page.slug, page.views, page.is_changed) == ("sea", 0, False)
    page.slug = "lake"
    for save in (pages.save(page), pages.save(page, force=True), pages.save_all([page])):
        with pytest.raises(DocumentError, match=r"'page:lake' now: to store a copy"):
            await save
    with pytest.raises(DocumentError, match="'page:lake'"):
        await pages.find().update(Page.slug.set("lake"))
    with pytest.raises(DocumentError, match="'page:lake'"):
        async with pages.edit("page:sea") as edited:
            edited.slug = "lake"
    assert (await pages.get("page:sea")).slug == "sea"


async def test_an_edit_that_the_constraints_refuse_stores_nothing(recipes: type[Recipe]) -> None:
    pie = recipes(id="pie", title="x")
    await pie.save()
    with pytest.raises(DocumentError, match=r"(?s)'pie'.*rating"):
        async with recipes.edit("pie") as edited:
            edited.rating = 9
    with pytest.raises(DocumentError, match=r"(?s)'pie'.*rating"):
        await pie.update(rating=9)
    pie.rating = 9
    for save in (pie.save(), recipes.save_all([pie])):
        with pytest.raises(DocumentError, match=r"(?s)'pie'.*rating"):
            await save
    assert (pie.rating, pie.rev) == (9, (await recipes.get("pie")).rev)
    pie.rollback()
    assert (pie.rating, (await recipes.get("pie")).rating) == (0, 0)


async def test_what_the_database_refuses_can_be_mended_and_saved(couch: Connection, database: Database) -> None:
    class Guarded(CouchModel, database=database.id, guard=True):
        rank: Mapped[int] = Field(default=0, le=5)

    class Loose(CouchModel, database=database.id):
        rank: Mapped[int] = Field(default=0)

    await couch.apply(Guarded)
    loose = Loose(id="a", rank=9)
    with pytest.raises(ForbiddenError, match="rank"):
        await loose.save()
    with pytest.raises(ForbiddenError, match="rank"):
        await loose.save(force=True)
    with pytest.raises(BulkError, match="1 of 2"):
        await Loose.save_all([loose, Loose(id="b")])
    assert loose.rev is None
    loose.rank = 3
    await loose.save()
    assert (await Guarded.get("a")).rank == 3


# --- duplicates


class Card(CouchModel):
    title: Mapped[str] = Field(default="")
    tags: Mapped[list[str]] = Field(default_factory=list)

    @cached_property
    def label(self) -> str:
        return f"{self.id}: {self.title}"


async def test_a_duplicate_is_a_document_of_its_own(database: Database) -> None:
    cards = Repository(Card, database)
    card = Card(id="a", title="one", tags=["x"])
    await cards.save(card)
    assert card.label == "a: one"
    copy = card.duplicate(id="b")
    copy.tags.append("y")
    assert (copy.id, copy.rev, copy.label, copy.is_changed) == ("b", None, "b: one", True)
    await copy.save()
    assert (await cards.get("b")).tags == ["x", "y"]
    assert (await cards.get("a")).tags == ["x"]
    assert card.duplicate().id not in {"a", card.duplicate().id}
    with pytest.raises(ConflictError, match="'b' exists already"):
        await card.duplicate(id="b").save()


async def test_a_duplicate_has_no_attachments(recipes: type[Recipe]) -> None:
    pie = recipes(id="pie", title="x")
    await pie.save()
    await pie.photo.save(b"x", "image/png")
    copy = pie.duplicate(id="pie2")
    await copy.save()
    assert copy.photo.length is None
    assert (pie.photo.length, await copy.photo.exists()) == (1, False)


async def test_the_id_of_a_duplicate_is_made_of_its_fields(database: Database) -> None:
    pages = Repository(Page, database)
    page = Page(slug="sea")
    await pages.save(page)
    copy = page.duplicate()
    with pytest.raises(ConflictError, match="'page:sea' exists already"):
        await pages.save(copy)
    copy.slug = "lake"
    await pages.save(copy)
    assert (await pages.get("page:lake")).slug == "lake"
    with pytest.raises(DocumentError, match="'page:sea'"):
        await pages.save(page.duplicate(id="other"))


def test_a_duplicate_of_a_model_that_makes_no_ids_needs_one() -> None:
    Named: Any = create_model("Named", __base__=CouchModel, id=(str, ...))  # noqa: N806
    with pytest.raises(ConfigurationError, match=r"duplicate\(id=…\)"):
        Named(id="a").duplicate()
    assert Named(id="a").duplicate(id="b").id == "b"


# --- equality


async def test_a_document_stays_what_it_is_in_sets_and_comparisons(database: Database) -> None:
    class Fixed(CouchModel):
        model_config = ConfigDict(frozen=True)
        title: str = ""

    fixed = Repository(Fixed, database)
    document = Fixed(id="a", title="x")
    twin, held = document.model_copy(), set[Any]([document])
    before = hash(document)
    await fixed.save(document)
    assert (hash(document), document == twin, document in held) == (before, True, True)
    await fixed.save_all([Fixed(id="b")])
    assert await fixed.get("a") in held
    await fixed.save(twin, force=True)
    await fixed.delete(twin)
    assert (hash(twin), twin == document, twin in held) == (before, True, True)


# --- old revisions


async def test_old_revisions_are_read_as_documents(recipes: type[Recipe]) -> None:
    pie = recipes(id="pie", title="0")
    revs = []
    for n in range(25):
        pie.title = f"{n}"
        await pie.save()
        revs.append(pie.rev)
    found = [each async for each in recipes.repository().revisions(pie)]
    assert [(each.rev, each.title) for each in found] == [(revs[n], f"{n}") for n in reversed(range(25))]
    old = await recipes.get("pie", rev=revs[3])
    assert (old.rev, old.title) == (revs[3], "3")
    old.rating = 5
    with pytest.raises(ConflictError) as caught:
        await old.save()
    assert (caught.value.base.title, caught.value.theirs.title) == ("3", "24")
    await old.save(force=True)
    assert (await recipes.get("pie")).title == "3"


async def test_an_old_revision_that_does_not_fit_is_named_and_can_be_skipped(
    recipes: type[Recipe], database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    pie = recipes(id="pie", title="first")
    await pie.save()
    first = pie.rev
    document = await database.get("pie")
    document["title"] = 3
    await document.save()
    await pie.save(force=True)
    repository = recipes.repository()
    with pytest.raises(DocumentError, match=f"the version {document.rev}"):
        _ = [each async for each in repository.revisions(pie)]
    assert [each.rev async for each in repository.revisions(pie, on_invalid="skip")] == [pie.rev, first]
    assert str(document.rev) in caplog.text
    with pytest.raises(QueryError, match="on_invalid is"):
        _ = [each async for each in repository.revisions(pie, on_invalid="go on")]  # type: ignore[arg-type]


async def test_a_revision_that_is_not_there_says_why(recipes: type[Recipe], database: Database) -> None:
    pie = recipes(id="pie", title="x")
    await pie.save()
    first = pie.rev
    with pytest.raises(NotFoundError, match="never stored here, or was compacted away"):
        await recipes.get("pie", rev=f"7-{'a' * 32}")
    with pytest.raises(BadRequestError, match="Invalid rev format"):
        await recipes.get("pie", rev="garbage")
    await pie.delete()
    (deletion,) = [change.rev async for change in database.changes(doc_ids=["pie"])]
    with pytest.raises(NotFoundError, match="is its deletion"):
        await recipes.get("pie", rev=deletion)
    with pytest.raises(NotFoundError, match="deleted"):
        _ = [each async for each in recipes.repository().revisions(pie)]
    await pie.save()
    assert [each.rev async for each in recipes.repository().revisions(pie)] == [pie.rev, first]
