"""What type checkers know of models. They check the statements, and nothing here is run."""

from collections.abc import AsyncIterator
from datetime import date
from enum import StrEnum
from typing import Any, ClassVar, Literal, assert_type

from aiohttp import BodyPartReader
from aiohttp.web import FileField
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from couchmodel import (
    Assignment,
    Attachment,
    Attachments,
    BackLink,
    BulkResult,
    Change,
    Condition,
    CouchModel,
    Delete,
    DeleteReport,
    Field,
    FieldExpression,
    File,
    ForgetReport,
    Group,
    JSONAttachment,
    Link,
    Links,
    ListExpression,
    Mapped,
    Ordering,
    Page,
    Query,
    Repository,
    SaveReport,
    SoftDelete,
    Stats,
    TextAttachment,
    Timestamps,
    Tombstone,
    View,
    ViewRow,
    attachment,
    col,
    upgrade,
)
from couchmodel._model.schema.links.link import LinkExpression
from couchmodel.bucket import Bucket
from couchmodel.engine import Database


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Author(BaseModel):
    name: Mapped[str]
    country: Mapped[str | None] = Field(default=None)


class Ingredient(BaseModel):
    name: Mapped[str]
    grams: Mapped[float] = Field(default=0)


class Recipe(CouchModel, database="recipes"):
    title: Mapped[str]
    author: Mapped[Author]
    editor: Mapped[Author | None] = Field(default=None)
    rating: Mapped[int] = Field(default=0, ge=0, le=5)
    stars: Mapped[int] = Field(0, ge=0)
    size: Mapped[Size] = Field(default=Size.SMALL)
    course: Mapped[Literal["main", "side"]] = Field(default="main")
    tags: Mapped[list[str]] = Field(default_factory=list)
    labels: Mapped[set[str]] = Field(default_factory=set)
    codes: Mapped[frozenset[int]] = Field(default_factory=frozenset)
    steps: Mapped[tuple[str, ...]] = Field(default=())
    notes: Mapped[tuple[str, ...] | None] = Field(default=None)
    marks: Mapped[frozenset[int] | None] = Field(default=None)
    ingredients: Mapped[list[Ingredient]] = Field(default_factory=list)
    scores: Mapped[dict[str, float]] = Field(default_factory=dict)
    photo: Attachment = attachment()
    leaflet: TextAttachment = attachment()
    nutrition: JSONAttachment[Ingredient] = attachment(required=True)
    pages: Attachments = attachment(prefix="pages/")


class Plain(CouchModel, database="recipes"):
    """A model of plain annotations."""

    rating: int = 0
    stars: int = Field(0, ge=0)
    author: Author | None = None


class Frozen(CouchModel, database="recipes", type="frozen", frozen=True):
    """A model with keywords of its class, of which checkers know ``frozen``."""

    title: Mapped[str]


ADA = Author(name="Ada")


def fields_of_the_class_are_expressions() -> None:
    assert_type(Recipe.rating, FieldExpression[int])
    assert_type(Recipe.author, type[Author])
    assert_type(Recipe.author.name, FieldExpression[str])
    assert_type(Recipe.author.country, FieldExpression[str | None])
    assert_type(col(Recipe.editor).name, FieldExpression[str])
    assert_type(Recipe.ingredients, ListExpression[Ingredient])
    assert_type(Recipe.ingredients[0].grams, FieldExpression[float])
    assert_type(Recipe.tags, FieldExpression[list[str]])
    assert_type(Recipe.tags[0], FieldExpression[str])
    assert_type(Recipe.scores["taste"], FieldExpression[float])


def fields_of_a_document_are_values(pie: Recipe) -> None:
    assert_type(pie.id, str)
    assert_type(pie.rev, str | None)
    assert_type(pie.rating, int)
    assert_type(pie.author, Author)
    assert_type(pie.editor, Author | None)
    assert_type(pie.ingredients, list[Ingredient])
    assert_type(pie.photo.length, int | None)
    assert_type(pie.photo.stream(), AsyncIterator[bytes])


async def attachments_have_the_type_of_their_content(pie: Recipe) -> None:
    pie.photo = File("pie.jpg")
    assert_type(await pie.photo.fetch(), bytes)
    pie.leaflet = "Crust"
    assert_type(await pie.leaflet.fetch(), str)
    pie.nutrition = Ingredient(name="flour")
    assert_type(await pie.nutrition.fetch(), Ingredient)
    pie.leaflet, pie.nutrition, pie.photo = File(b"x"), File(b"{}"), None
    assert_type(pie.leaflet, TextAttachment)
    pie.pages["1"] = File(b"x", "image/png")
    assert_type(await pie.pages["1"].fetch(), bytes)
    assert_type(list(pie.pages), list[str])
    _ = assert_type(Recipe.photo, FieldExpression[dict[str, Any]])


def the_constructor_takes_what_was_declared() -> None:
    assert_type(Recipe(title="x", author=ADA), Recipe)
    assert_type(Recipe(id="x", title="x", author=ADA, rating=4, stars=1, tags=["a"]), Recipe)
    assert_type(Plain(), Plain)
    assert_type(Frozen(title="x"), Frozen)


def comparisons_are_conditions() -> None:
    assert_type(Recipe.rating >= 4, Condition)
    assert_type(Recipe.rating == 4, Condition)
    assert_type((Recipe.rating != 4) & ~(Recipe.title == "x") | Recipe.rating.between(1, 2), Condition)
    assert_type(Recipe.rating.in_([1, 2]), Condition)
    assert_type(Recipe.author.country.is_none(), Condition)
    assert_type(Recipe.title.startswith("x"), Condition)
    assert_type(Recipe.title.matches("^x", ignore_case=True), Condition)
    assert_type(Recipe.title.contains("x"), Condition)
    assert_type(Recipe.size.matches("s"), Condition)
    assert_type(Recipe.course.matches("m"), Condition)
    assert_type(Recipe.author.country.startswith("U"), Condition)
    assert_type(Recipe.tags.contains("x"), Condition)
    assert_type(Recipe.labels.contains("x"), Condition)
    assert_type(Recipe.codes.contains(1), Condition)
    assert_type(Recipe.steps.contains("x"), Condition)
    assert_type(Recipe.notes.contains("x"), Condition)
    assert_type(Recipe.marks.contains(1), Condition)
    assert_type(Recipe.tags.contains_all(["x"]) & (Recipe.tags.size() == 2), Condition)
    assert_type(Recipe.scores.has_key("taste"), Condition)
    assert_type(Recipe.ingredients.any(lambda each: (each.name == "flour") & (each.grams > 1)), Condition)
    assert_type(Recipe.rating.desc(), Ordering)


def col_gives_a_plain_field_the_type_that_it_has_on_the_class() -> None:
    assert_type(col(Plain.rating), FieldExpression[int])
    assert_type(col(Plain.rating) >= 4, Condition)
    assert_type(col(Plain.id).in_(["a"]), Condition)
    assert_type(col(Recipe.rating), FieldExpression[int])


async def documents_have_the_type_of_their_model(database: Database) -> None:
    assert_type(await Recipe.get("x"), Recipe)
    assert_type(await Recipe.get_or_none("x"), Recipe | None)
    _ = assert_type(Recipe.find(Recipe.rating > 1, {"rating": {"$mod": [4, 1]}}), Query[Recipe])
    assert_type(await Recipe.find().first(), Recipe | None)
    assert_type(await Recipe.find().sort(Recipe.rating, Recipe.title.desc()).limit(3).to_list(), list[Recipe])
    assert_type([pie async for pie in Recipe.find()], list[Recipe])
    assert_type(Recipe.repository(), Repository[Recipe])
    assert_type(await Repository(Recipe, database).get("x"), Recipe)
    _ = assert_type(Repository(Recipe, database).find(), Query[Recipe])
    assert_type(await Recipe.find(), list[Recipe])


class Person(CouchModel, database="library", type="person"):
    name: Mapped[str]
    books: ClassVar[BackLink["Book"]] = BackLink("author")


class Book(CouchModel, database="library", type="book"):
    title: Mapped[str]
    author: Link[Person]
    editor: Link[Person | None] = Field(default=None)
    readers: Links[Person] = Field(default_factory=list)


async def links_are_awaited_and_compared(book: Book, ada: Person) -> None:
    _ = assert_type(book.author, Link[Person])
    assert_type(book.author.id, str)
    assert_type(book.author.document, Person | None)
    assert_type(await book.author, Person)
    assert_type(await book.editor, Person | None)
    assert_type(book.readers, list[Link[Person]])
    assert_type(Book.editor, LinkExpression[Person])
    assert_type(Book.author == ada, Condition)
    assert_type(Book.readers.in_([ada, "bob"]), Condition)
    assert_type(Book.author.id, FieldExpression[str])
    assert_type(await ada.books, list[Book])
    assert_type(await Book.find().prefetch(Book.author, Book.readers), list[Book])
    assert_type(Book(title="x", author=ada, editor="bob", readers=[ada, "bob"]), Book)
    book.author = ada
    book.editor = "ada"


class Card(BaseModel):
    title: str


async def results_have_the_type_of_what_is_asked_for() -> None:
    best = Recipe.find(Recipe.rating >= 4).sort("-rating")
    assert_type(await best, list[Recipe])
    assert_type(await best.one(), Recipe)
    assert_type(await best.one_or_none(), Recipe | None)
    assert_type(await best.page(3), Page[Recipe])
    assert_type(await best.project(Card), list[Card])
    assert_type(await best.project(Card).page(3), Page[Card])
    assert_type(await best.values(Recipe.title), list[str])
    assert_type(await best.values(Recipe.title, Recipe.rating), list[tuple[str, int]])
    assert_type(await best.sum(Recipe.rating), int)
    assert_type(await best.max(Recipe.title), str | None)
    assert_type((await best.explain()).index, str | None)
    assert_type(Recipe.rating.set(4), Assignment)
    assert_type(await best.update(Recipe.rating.set(4)), int)
    assert_type(await Recipe.get_many(["a"]), list[Recipe | None])
    assert_type(await Recipe.get_or_create(Recipe(title="x", author=Author(name="A"))), Recipe)
    found: list[Recipe] = await best
    assert_type(await Recipe.save_all(found), SaveReport[Recipe])
    assert_type(await Recipe.save_all(best, on_progress=print), SaveReport[Recipe])
    recipes = Recipe.repository()
    assert_type(await recipes.delete_all(best), DeleteReport[Recipe])
    assert_type([each async for each in recipes.get_each(each.id async for each in best)], list[Recipe | None])
    assert_type([each async for each in recipes.bulk([found[0], Delete(found[1])])], list[BulkResult[Recipe]])


class Tool(SoftDelete, Timestamps, database="tools", version=2):
    name: Mapped[str]

    @upgrade(to=2)
    @staticmethod
    def rename(stored: dict[str, Any]) -> None:
        stored["name"] = stored.pop("title")


async def changes_and_tombstones_are_of_the_model() -> None:
    assert_type([each async for each in Tool.changes(Tool.name == "x")], list[Change[Tool]])
    assert_type([each.document async for each in Tool.changes(live=False)], list[Tool | None])
    tools, seen = Tool.repository(), list[Tool | None]()

    async def note(change: Change[Tool]) -> None:
        seen.append(change.document)

    async def note_any(change: Change[CouchModel]) -> None:
        assert_type(change.document, CouchModel | None)

    await tools.consume("x", note)
    await tools.consume("x", note_any, live=False)
    assert_type([each async for each in tools.deleted()], list[Tombstone[Tool]])
    assert_type([each.document.name async for each in tools.deleted()], list[str])
    assert_type(await tools.restore("x"), Tool)
    assert_type(await tools.forget(["x"]), ForgetReport)
    assert_type((await tools.migrate()).failed, list[str])
    tool = await Tool.get("x")
    await tool.delete(reason="broken", count=3)
    Tool.rename({})


class Loan(CouchModel, database="library", type="loan"):
    person: Link[Person]
    day: Mapped[date]
    days: Mapped[int]

    by_person: ClassVar[View[tuple[str, date], int, Stats]] = View(key=("person", "day"), value="days", reduce="_stats")
    by_day: ClassVar[View[date, None, int]] = View(key="day", reduce="_count", where=lambda loan: loan.days > 3)
    own: ClassVar[View[str, int, int]] = View(map="function (doc) { emit(doc._id, 1); }", reduce="_sum")


async def views_have_the_types_of_their_annotations() -> None:
    assert_type([row async for row in Loan.by_person.rows()], list[ViewRow[tuple[str, date], int]])
    assert_type([loan async for loan in Loan.by_person.docs(prefix=("ada",))], list[Loan])
    assert_type([group async for group in Loan.by_person.groups()], list[Group[tuple[str, date], Stats]])
    assert_type([group.key async for group in Loan.by_person.groups(level=1)], list[tuple[str]])
    assert_type(await Loan.by_person.total(), Stats | None)
    assert_type(await Loan.by_day.total(prefix="x"), int | None)
    assert_type([day async for day in Loan.by_day.distinct()], list[date])
    assert_type(await Loan.own.page(3), Page[ViewRow[str, int]])
    assert_type([row.value async for row in Loan.repository().view(Loan.own).rows(key="a")], list[int])


async def uploads_of_frameworks_are_sources(
    upload: UploadFile, field: FileField, part: BodyPartReader, bucket: Bucket
) -> None:
    assert_type([File(upload), File(field), File(part)], list[File])
    assert_type(await bucket.upload_from_stream("a", upload), str)
    assert_type(await bucket.upload_from_stream("a", field), str)
    assert_type(await bucket.upload_from_stream("a", part), str)
