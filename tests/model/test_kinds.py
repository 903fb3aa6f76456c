"""Several models in one database, told apart by their types."""

from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, create_model

from couchmodel import (
    ConfigurationError,
    Connection,
    CouchModel,
    DocumentError,
    Field,
    Index,
    Mapped,
    NotFoundError,
    Security,
)
from couchmodel._model.schema.kinds import kinds_of
from couchmodel.engine import Database


class Shelf:
    """The models of a test, in its database."""

    def __init__(self, database: str) -> None:
        class Author(CouchModel, database=database, type="author"):
            name: Mapped[str]

        class Book(CouchModel, database=database, type="book", id="book:{slug}", indexes=[Index("title")]):
            slug: Mapped[str]
            title: Mapped[str] = Field(default="")

        class Novel(Book, type="novel"):
            hero: Mapped[str] = Field(default="")

        self.Author, self.Book, self.Novel = Author, Book, Novel


@pytest.fixture
async def shelf(couch: Connection, database: Database) -> Shelf:
    shelf = Shelf(database.id)
    await couch.apply(shelf.Author, shelf.Book, shelf.Novel)
    await shelf.Author(id="ada", name="Ada").save()
    await shelf.Book.save_all([shelf.Book(slug="notes", title="Notes"), shelf.Novel(slug="sea", hero="Finn")])
    return shelf


async def test_a_document_is_read_as_the_kind_it_was_saved_as(shelf: Shelf) -> None:
    assert {type(book) for book in await shelf.Book.find().to_list()} == {shelf.Book, shelf.Novel}
    assert isinstance(await shelf.Book.get("book:sea"), shelf.Novel)
    assert [novel.hero async for novel in shelf.Novel.find(shelf.Novel.hero == "Finn")] == ["Finn"]
    assert await shelf.Author.find().count() == 1
    assert await shelf.Book.find().count() == 2


async def test_the_type_stands_in_the_document_and_in_its_tombstone(shelf: Shelf, database: Database) -> None:
    assert (await database.get("book:sea")).json["type"] == "novel"
    sea = await shelf.Novel.get("book:sea")
    sea.hero = "Ann"
    await sea.save()
    assert (await database.get("book:sea")).json["type"] == "novel"
    await sea.delete()
    with pytest.raises(NotFoundError, match="deleted"):
        await shelf.Novel.get("book:sea")
    changes = await database.session.get((*database.path, "_changes"), {"include_docs": "true"})
    assert [row["doc"]["type"] for row in changes["results"] if row.get("deleted")] == ["novel"]


async def test_a_document_of_another_type_is_told_apart(shelf: Shelf) -> None:
    with pytest.raises(DocumentError, match=r"Book 'ada'(.|\n)*the type 'author', not 'book', 'novel'"):
        await shelf.Book.get("ada")


async def test_a_document_of_another_model_is_refused(shelf: Shelf) -> None:
    wrong: Any = shelf.Author(id="bob", name="Bob")
    for write in (shelf.Book.save_all([wrong]), shelf.Book.repository().save(wrong)):
        with pytest.raises(ConfigurationError, match="a document of Author is no Book"):
            await write
    wrong = await shelf.Author.get("ada")
    with pytest.raises(ConfigurationError, match="a document of Author is no Book"):
        await shelf.Book.repository().delete(wrong)
    await shelf.Book.save_all([shelf.Novel(slug="hill", hero="Ann")])
    wrong = {"slug": "x"}
    with pytest.raises(ConfigurationError, match=r"\{'slug': 'x'\} is no Book"):
        await shelf.Book.save_all([wrong])


async def test_kinds_may_forbid_or_allow_undeclared_members(couch: Connection, database: Database) -> None:
    class Tight(CouchModel, database=database.id, type="tight"):
        model_config = ConfigDict(extra="forbid")
        name: str

    class Loose(CouchModel, database=database.id, type="loose"):
        model_config = ConfigDict(extra="allow")

    await couch.apply(Tight, Loose)
    await Tight(id="t", name="x").save()
    await Loose.model_validate({"id": "l", "colour": "red"}).save()
    assert (await Tight.get("t")).name == "x"
    assert (await Loose.get("l")).model_extra == {"colour": "red"}


async def test_models_that_cannot_be_told_apart_are_refused(couch: Connection, database: Database) -> None:
    class One(CouchModel, database=database.id, type="thing"):
        pass

    class Other(CouchModel, database=database.id, type="thing"):
        pass

    class Bare(CouchModel, database=database.id):
        pass

    await couch.apply(One)
    with pytest.raises(ConfigurationError, match="One and Other are both of the type 'thing'"):
        await couch.apply(Other)
    with pytest.raises(ConfigurationError, match="One and Bare share the database"):
        await couch.plan(Bare)


async def test_models_of_one_class_name_keep_each_others_indexes(couch: Connection, database: Database) -> None:
    def define(type: str, field: str) -> type[CouchModel]:
        keywords: dict[str, Any] = {"database": database.id, "type": type, "indexes": [Index(field)]}
        fields: dict[str, Any] = {field: (int, 0)}
        name = f"{type}.Recipe"
        return create_model("Recipe", __base__=CouchModel, __cls_kwargs__=keywords, __qualname__=name, **fields)

    models = define("pie", "apples"), define("soup", "onions")
    await couch.apply(*models)
    assert str(await couch.plan(*models)) == "nothing to do"
    found = (await database.session.get((*database.path, "_index")))["indexes"]
    assert [each["name"] for each in found] == ["_all_docs", "apples", "onions"]


async def test_settings_of_a_database_that_differ_are_refused(couch: Connection, database: Database) -> None:
    class Bread(CouchModel, database=database.id, type="bread", revs_limit=5):
        pass

    class Cake(CouchModel, database=database.id, type="cake", revs_limit=7):
        pass

    class Pie(CouchModel, database=database.id, type="pie"):
        pass

    await couch.apply(Bread, Pie)
    with pytest.raises(ConfigurationError, match="Bread and Cake declare different values of revs_limit"):
        await couch.apply(Cake)


@pytest.mark.parametrize("wrong", [3, "Bread", [CouchModel], BaseModel])
async def test_what_is_no_model_is_refused(couch: Connection, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"is no model: write plan\(Author, Recipe\)"):
        await couch.plan(wrong)


async def test_a_kind_may_be_defined_when_its_base_is_in_use_already(shelf: Shelf, database: Database) -> None:
    assert await shelf.Book.find().count() == 2
    poem = create_model("Poem", __base__=shelf.Book, __cls_kwargs__={"type": "poem"}, lines=(int, 4))
    await poem(slug="spring").save()
    assert isinstance(await shelf.Book.get("book:spring"), poem)
    assert await shelf.Book.find().count() == 3


def test_a_class_that_is_defined_again_replaces_the_first() -> None:
    def define(field: str) -> type[CouchModel]:
        class Kind(Base, type="kind"):
            __qualname__ = "Kind"
            __annotations__ = {field: int}

        return Kind

    class Base(CouchModel, database="x", type="base"):
        pass

    define("one")
    second = define("two")
    assert kinds_of(Base)["kind"] is second


async def test_a_stored_document_without_a_new_field_is_told_by_the_plan_and_migrated(
    couch: Connection, database: Database
) -> None:
    class Recipe(CouchModel, database=database.id, indexes=[Index("rating")]):
        title: Mapped[str]
        rating: Mapped[int] = Field(default=0)

    await couch.apply(Recipe)
    for n in range(3):
        await (await database.create(f"r{n}", data={"title": "x", "page": n})).save()
    await (await database.create("odd", data={"title": 7})).save()
    assert await Recipe.find().sort(Recipe.rating).count() == 0
    plan = await couch.plan(Recipe)
    assert plan.is_empty
    assert "4 stored documents of Recipe have no 'rating'" in str(plan)
    report = await Recipe.repository().migrate()
    assert (report.upgraded, report.failed) == (3, ["odd"])
    assert [recipe.id async for recipe in Recipe.find().sort(Recipe.rating)] == ["r0", "r1", "r2"]
    assert (await database.get("r1")).json["page"] == 1
    assert (await Recipe.repository().migrate()).upgraded == 0


class Ingredient(BaseModel):
    name: str = Field(default="", validation_alias=AliasChoices("label", "title"))


async def test_older_names_of_fields_are_kept_by_a_save_and_removed_by_a_migration(
    couch: Connection, database: Database
) -> None:
    class Recipe(CouchModel, database=database.id):
        name: Mapped[str] = Field(stored_as="title", validation_alias=AliasChoices("name", "label"))
        parts: dict[str, list[Ingredient]] = {}
        rating: Mapped[int] = Field(default=0, alias="stars")

    flour = {"label": "flour", "title": "f", "page": 7}
    old = {"label": "Pie", "parts": {"dough": [flour]}, "stars": 3, "rating": "not a member that is read"}
    await (await database.create("pie", data=old)).save()
    await (await database.create("cake", data={"name": "Cake", "title": "Old cake", "parts": {}, "stars": 0})).save()

    pie = await Recipe.get("pie")
    pie.name = "Apple pie"
    await pie.save()
    assert (await database.get("pie")).json.items() >= {"label": "Pie", "title": "Apple pie"}.items()

    assert (await Recipe.repository().migrate()).upgraded == 2
    assert (await database.get("pie")).json == {
        "title": "Apple pie",
        "parts": {"dough": [{"name": "flour", "page": 7}]},
        "stars": 3,
        "rating": "not a member that is read",
    }
    assert (await database.get("cake")).json == {"title": "Old cake", "parts": {}, "stars": 0}
    assert await Recipe.get("pie") == pie
    assert (await Recipe.repository().migrate()).upgraded == 0


async def test_a_plan_says_what_apply_will_do(couch: Connection, database: Database) -> None:
    class Recipe(
        CouchModel,
        database=f"{database.id}-planned",
        indexes=[Index("title")],
        security=Security(member_roles=["cook"]),
        revs_limit=50,
    ):
        title: Mapped[str]
        rating: Mapped[int] = Field(default=0, index=True)

    plan = await couch.plan(Recipe)
    said = ["create the database", "members", "revs_limit", "the index 'title'", "the index 'rating'"]
    assert all(part in step for part, step in zip(said, plan.steps, strict=True))
    await couch.apply(Recipe)
    assert str(await couch.plan(Recipe)) == "nothing to do"
    planned = Recipe.repository().database
    assert (await planned.security())["members"] == {"names": [], "roles": ["cook"]}
    assert await planned.session.get((*planned.path, "_revs_limit")) == 50
    await planned.delete()
