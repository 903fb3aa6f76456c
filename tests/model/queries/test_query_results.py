"""What queries give: lists, single documents, pages, parts of documents, sums."""

import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel

from couchmodel import (
    Connection,
    CouchModel,
    DocumentError,
    Field,
    Index,
    Mapped,
    MultipleFoundError,
    NotFoundError,
    Page,
    Query,
    QueryError,
    Repository,
    col,
)
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Database, Session

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Maker(BaseModel):
    name: Mapped[str]
    country: Mapped[str | None] = Field(default=None)


class Cake(CouchModel, indexes=[Index("rating", "title"), Index("maker.name")]):
    title: Mapped[str]
    rating: Mapped[int] = Field(default=0, ge=0, le=5)
    maker: Mapped[Maker]
    price: Mapped[Decimal] = Field(default=Decimal(1), decimal_places=2)
    made: Mapped[datetime] = Field(default=NOON, stored_as="made_at")
    scores: Mapped[dict[str, float]] = Field(default_factory=dict)
    labels: Mapped[set[str]] = Field(default_factory=set)
    baked: Mapped[timedelta] = Field(default=timedelta(hours=1))


class Card(BaseModel):
    id: str
    title: str
    made: datetime
    price: Decimal
    note: str = "none"


class Other(CouchModel):
    rating: Mapped[int] = Field(default=0)


@pytest.fixture
async def cakes(couch: Connection) -> AsyncIterator[Repository[Cake]]:
    """Twelve cakes, ``c0`` to ``C11``: every second id has a capital letter."""
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=2)
    repository = Repository(Cake, database)
    await repository.apply()
    await repository.save_all(
        Cake(
            id=f"{'cC'[n % 2]}{n}",
            title=f"Cake {n // 2}",
            rating=n % 6,
            maker=Maker(name="Ada" if n % 2 else "Bob", country="UK" if n > 8 else None),
            price=Decimal(n) / 4,
            made=NOON + timedelta(hours=n),
            scores={"a.b": n / 10},
        )
        for n in range(12)
    )
    yield repository
    with suppress(NotFoundError):
        await database.delete()


def numbers(cakes: list[Cake]) -> list[int]:
    return [int(cake.id[1:]) for cake in cakes]


async def test_an_awaited_query_gives_the_list(cakes: Repository[Cake]) -> None:
    assert sorted(numbers(await cakes.find(Cake.rating >= 4))) == [4, 5, 10, 11]


@pytest.mark.parametrize("order", ["-rating", "rating", "maker.name", "-maker.name", "-id"])
async def test_a_name_from_outside_sorts(cakes: Repository[Cake], order: str) -> None:
    found = await cakes.find().sort(order)

    def key(cake: Cake) -> Any:
        value: Any = cake
        for name in order.removeprefix("-").split("."):
            value = getattr(value, name)
        return value

    assert [key(cake) for cake in found] == sorted(map(key, found), reverse=order.startswith("-"))
    assert len(found) == 12


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (("raing",), "rating"),
        (("maker.nme",), "name"),
        (("rating.x",), "has no members"),
        ((Cake.rating.desc(), Cake.title.asc()), "one direction"),
        ((Other.rating,), "Other.rating"),
        ((3,), "sort"),
    ],
)
async def test_a_sort_that_makes_no_sense_is_refused(cakes: Repository[Cake], order: Any, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        cakes.find().sort(*order).body()


async def test_one_of_many_is_told_from_none(cakes: Repository[Cake]) -> None:
    assert (await cakes.find(Cake.title == "Cake 0", Cake.maker.name == "Ada").one()).id == "C1"
    assert await cakes.find(Cake.rating > 5).one_or_none() is None
    assert await cakes.find(Cake.rating == 5).exists()
    assert not await cakes.find(Cake.rating > 5).exists()
    with pytest.raises(NotFoundError, match="Cake"):
        await cakes.find(Cake.rating > 5).one()
    for query in (cakes.find(Cake.rating == 5).one(), cakes.find(Cake.rating == 5).one_or_none()):
        with pytest.raises(MultipleFoundError, match=r"limit\(1\)"):
            await query


@pytest.mark.parametrize("ask", [Query.one, Query.one_or_none])
async def test_several_results_in_place_of_one_are_told_by_one_request(
    cakes: Repository[Cake], monkeypatch: pytest.MonkeyPatch, ask: Any
) -> None:
    sent: list[str] = []
    send = Session.send

    async def record(session: Session, request: Request) -> Response:
        if request.path[-1] == "_find":
            sent.append("_find")
            if len(sent) == 2:  # others delete all but one between two requests
                found = await cakes.find(Cake.rating == 5)
                await cakes.delete_all(found[1:])
        return await send(session, request)

    monkeypatch.setattr(Session, "send", record)
    with pytest.raises(MultipleFoundError):
        await ask(cakes.find(Cake.rating == 5))
    assert sent == ["_find"]


QUERIES: dict[str, Any] = {
    "sorted by an index": lambda cakes: cakes.find(Cake.rating >= 1).sort(Cake.rating.desc(), Cake.title.desc()),
    "sorted by a part of an index": lambda cakes: cakes.find(Cake.rating >= 1).sort("rating"),
    "in the order of an index": lambda cakes: cakes.find(Cake.maker.name == "Ada"),
    "of all documents": lambda cakes: cakes.find(),
    "without an index": lambda cakes: cakes.find(Cake.price >= Decimal(1)),
    "sorted by id": lambda cakes: cakes.find().sort("-id"),
    "parts": lambda cakes: cakes.find(Cake.rating >= 2).sort("rating").project(Card),
    "values": lambda cakes: cakes.find(Cake.rating >= 2).sort("rating").values(Cake.title, Cake.made),
}


@pytest.mark.parametrize("size", [1, 3, 20])
@pytest.mark.parametrize("kind", QUERIES)
async def test_pages_have_each_result_once_and_in_order(cakes: Repository[Cake], kind: str, size: int) -> None:
    query: Query[Any] = QUERIES[kind](cakes)
    pages = [await query.page(size)]
    while pages[-1].next is not None:
        pages.append(await query.page(size, after=pages[-1].next))
    found = [each for page in pages for each in page.items]
    whole = await query
    assert len(found) == len(whole)
    assert all(each in whole for each in found)
    if query.orderings:
        assert found == whole
    assert all(len(page.items) == size for page in pages[:-1])


async def test_pages_do_not_use_an_index_of_ids(database: Database) -> None:
    class Ticket(CouchModel, indexes=[Index("urgency", "_id"), Index("urgency", "title")]):
        title: Mapped[str] = Field(default="")
        urgency: Mapped[int] = Field(default=0)

    tickets = Repository(Ticket, database)
    await tickets.apply()
    ids = ["a", "B", "c", "D", "\u00e9", "f"]
    await tickets.save_all([Ticket(id=each) for each in ids])
    query, found, token = tickets.find().sort("-urgency"), list[str](), None
    while len(found) < len(ids):
        page = await query.page(1, after=token)
        found += [ticket.id for ticket in page.items]
        token = page.next
    assert (sorted(found), token) == (sorted(ids), None)
    with pytest.raises(QueryError, match="leave out"):
        await tickets.find().sort("urgency", "id").page(1)


async def test_a_page_goes_on_where_its_last_document_was_deleted(cakes: Repository[Cake]) -> None:
    query = cakes.find(Cake.rating >= 0).sort("rating")
    page = await query.page(5)
    await cakes.delete(page.items[-1])
    rest = await query.page(20, after=page.next)
    assert len({cake.id for cake in [*page.items, *rest.items]}) == 12


async def test_the_token_of_another_query_is_refused(cakes: Repository[Cake]) -> None:
    query = cakes.find(Cake.rating >= 0).sort("rating")
    token = (await query.page(5)).next
    assert token is not None
    changed = ("A" if token[-1] != "A" else "B") + token[1:-1] + ("A" if token[-1] != "A" else "B")
    with pytest.raises(QueryError, match="another query"):
        await cakes.find(Cake.rating >= 1).sort("rating").page(5, after=token)
    for bad in (changed, "", "é", token[:-7], "x y"):
        with pytest.raises(QueryError, match="after="):
            await query.page(5, after=bad)
    with pytest.raises(QueryError, match="not 0"):
        await query.page(0)
    for limited in (query.limit(3), query.skip(1)):
        with pytest.raises(QueryError, match="limit"):
            await limited.page(5)


async def test_a_page_can_be_answered_by_a_web_framework(cakes: Repository[Cake]) -> None:
    page = await cakes.find().sort("id").page(2)
    assert isinstance(page, Page)
    answer = page.model_dump(mode="json")
    assert [item["id"] for item in answer["items"]] == ["C1", "C11"]
    assert quote(answer["next"], safe="") == answer["next"]


async def test_parts_of_documents_are_read_as_their_fields_store_them(cakes: Repository[Cake]) -> None:
    (card,) = await cakes.find(Cake.title == "Cake 3", Cake.maker.name == "Ada").project(Card)
    assert card == Card(id="C7", title="Cake 3", made=NOON + timedelta(hours=7), price=Decimal("1.75"))


async def test_values_have_the_types_of_their_fields(cakes: Repository[Cake]) -> None:
    query = cakes.find(Cake.title == "Cake 5").sort("id")
    assert await query.values(Cake.price, Cake.made) == [
        (Decimal("2.75"), NOON + timedelta(hours=11)),
        (Decimal("2.5"), NOON + timedelta(hours=10)),
    ]
    assert await query.values(Cake.maker.name) == ["Ada", "Bob"]
    assert await query.values(Cake.scores["a.b"]) == [1.1, 1.0]
    assert await cakes.find(Cake.rating == 1).values(Cake.maker.country) == [None, None]


class Wrong(BaseModel):
    titel: str


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (lambda query: query.project(Wrong), "title"),
        (lambda query: query.project("Card"), "pydantic model"),
        (lambda query: query.values(), "Recipe.title"),
        (lambda query: query.values("title"), "field of the class"),
        (lambda query: query.values(Other.rating), "Other.rating"),
    ],
)
async def test_a_part_that_documents_do_not_have_is_refused(cakes: Repository[Cake], part: Any, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        part(cakes.find())


async def test_sums_have_the_types_of_their_fields(cakes: Repository[Cake]) -> None:
    best = cakes.find(Cake.rating >= 4)
    assert await best.sum(Cake.rating) == 18
    assert await best.avg(Cake.rating) == 4.5
    assert await best.max(Cake.made) == NOON + timedelta(hours=11)
    assert await best.min(Cake.price) == 1
    none = cakes.find(Cake.rating > 5)
    assert await none.sum(Cake.rating) == 0
    assert await none.avg(Cake.rating) is None
    assert await none.max(Cake.made) is None


async def test_a_document_that_does_not_fit_costs_that_document_only(cakes: Repository[Cake]) -> None:
    await (await cakes.database.create("bad", data={"rating": 5, "title": 7})).save()
    with pytest.raises(DocumentError, match="bad"):
        await cakes.find(Cake.rating == 5)
    assert len(await cakes.find(Cake.rating == 5, on_invalid="skip")) == 2
    wrong: Any = "ignore"
    with pytest.raises(QueryError, match="on_invalid is 'raise', 'skip' or 'collect'"):
        await cakes.find(on_invalid=wrong)
    query = cakes.find(Cake.rating == 5, on_invalid="collect")
    assert len(await query) == 2
    assert [error.document_id for error in query.errors] == ["bad"]
    await query
    assert len(query.errors) == 1
    await query.update(Cake.title.set("Best"))
    assert len(query.errors) == 1


async def test_none_among_several_values_is_found(cakes: Repository[Cake]) -> None:
    assert len(await cakes.find(Cake.maker.country.in_([None, "FR"]))) == 9
    assert len(await cakes.find(Cake.maker.country.not_in([None, "FR"]))) == 3


def test_a_broken_regular_expression_says_where() -> None:
    with pytest.raises(QueryError, match="position 3"):
        Cake.title.matches("a(b")


SENSELESS: dict[str, tuple[Any, str]] = {
    "a lone surrogate": (lambda: Cake.title == "\ud800", "cannot be sent"),
    "a lone surrogate in a selector": (lambda: {"title": "\ud800"}, "cannot be sent"),
    "NaN in a selector": (lambda: {"rating": float("nan")}, "NaN"),
    "a number as a name": (lambda: {3: "x"}, "texts"),
    "a number for a text": (lambda: Cake.title.startswith(3), "a text"),  # type: ignore[arg-type]
    "a number for a pattern": (lambda: Cake.title.matches(3), "regular expression"),  # type: ignore[arg-type]
    "a text for a truth value": (lambda: Cake.title.exists("no"), "True or False"),  # type: ignore[arg-type]
    "a comparison of values": (lambda: Cake(title="x", maker=Maker(name="A")).rating >= 4, "not of a model's fields"),
    "a field": (lambda: Cake.rating, "is not a condition"),
}


@pytest.mark.parametrize("kind", SENSELESS)
async def test_a_condition_that_makes_no_sense_is_refused_before_it_is_sent(cakes: Repository[Cake], kind: str) -> None:
    condition, said = SENSELESS[kind]
    with pytest.raises(QueryError, match=said):
        cakes.find(condition()).body()


async def test_a_condition_on_another_model_is_refused(cakes: Repository[Cake]) -> None:
    with pytest.raises(QueryError, match=r"Other\.rating is no field of Cake"):
        cakes.find(Other.rating > 3).body()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda query: query.sum(Cake.title), "title has the value .* of str"),
        (lambda query: query.avg(Cake.made), "made_at has the value"),
        (lambda query: query.max(Cake.maker), "maker has the value"),
        (lambda query: query.min(Cake.labels), "sets have no order"),
    ],
)
async def test_what_cannot_be_added_or_compared_is_refused(cakes: Repository[Cake], ask: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        await ask(cakes.find())


async def test_durations_are_added(cakes: Repository[Cake]) -> None:
    assert await cakes.find().sum(Cake.baked) == timedelta(hours=12)
    assert await cakes.find().avg(Cake.baked) == timedelta(hours=1)


class Branch(BaseModel):
    price: Mapped[Decimal] = Field(default=Decimal("1.5"))
    inner: Mapped["Branch | None"] = Field(default=None)


class Tree(CouchModel):
    size: Mapped[tuple[int, Decimal]] = Field(default=(1, Decimal("3.5")))
    root: Mapped[Branch] = Field(default_factory=lambda: Branch(inner=Branch()))


async def test_values_of_a_model_that_embeds_itself_are_read(database: Database) -> None:
    trees = Repository(Tree, database)
    await trees.save(Tree())
    inner: Any = Tree.root.inner
    assert await trees.find().values(Tree.root.price, inner.price) == [(Decimal("1.5"), Decimal("1.5"))]


async def test_each_place_of_a_tuple_has_a_type_of_its_own(database: Database) -> None:
    trees = Repository(Tree, database)
    await trees.save(Tree())
    size: Any = Tree.size
    assert await trees.find(size[1] == Decimal("3.5"), size[0] == 1).values(size[1]) == [Decimal("3.5")]


IDS = ["D1", "D2", "D3", "Z", "book:1", "book:Z", "book:a", "d1", "d2", "e", "\u00e9"]


@pytest.mark.parametrize(("low", "high"), [("D1", "d"), ("D2", "d1"), ("book:", "book:\ufff0"), ("Z", "e"), ("d", "D")])
async def test_ids_between_two_bounds_are_those_between_their_bytes(database: Database, low: str, high: str) -> None:
    class Plain(CouchModel):
        n: Mapped[int] = Field(default=0)

    plains = Repository(Plain, database)
    await plains.save_all([Plain(id=each) for each in IDS])
    id = col(Plain.id)
    query = plains.find(id > low, ~(id >= high))
    expected = sorted(each for each in IDS if low < each < high)
    assert sorted(plain.id for plain in await query) == expected
    assert sorted(plain.id for plain in await plains.find(id.between(low, high), id != low, id != high)) == expected
    found, token = list[str](), None
    while len(found) < len(expected):
        page = await query.page(2, after=token)
        found += [plain.id for plain in page.items]
        token = page.next
    assert (found, token) == (expected, None)
