"""Many documents: conditions, order, limits."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from couchmodel import (
    BadRequestError,
    BulkError,
    Condition,
    ConflictError,
    ContentTooLargeError,
    DocumentError,
    QueryError,
    col,
)
from couchmodel._model.query.selector import build_selector
from couchmodel.engine import Database
from tests.models import Author, Recipe

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
async def shelf(recipes: type[Recipe]) -> type[Recipe]:
    """Six recipes, ``r0`` to ``r5``, rated 0 to 5, of Ada and of Bob, the last two with a country."""
    await recipes.save_all(
        Recipe(
            id=f"r{n}",
            title=f"Recipe {n}",
            rating=n,
            author=Author(name="Ada" if n % 2 else "Bob", country="UK" if n > 3 else None),
            ingredients=["flour"] * (n > 2) + ["salt"],
            created=NOON + timedelta(microseconds=n * 250_000),
        )
        for n in range(6)
    )
    return recipes


CONDITIONS: list[tuple[str, Condition | bool, str]] = [
    ("equal", Recipe.rating == 3, "3"),
    ("not equal", Recipe.rating != 3, "01245"),
    ("greater", Recipe.rating > 3, "45"),
    ("greater or equal", Recipe.rating >= 3, "345"),
    ("less", Recipe.rating < 2, "01"),
    ("less or equal", Recipe.rating <= 2, "012"),
    ("and", (Recipe.rating >= 2) & (Recipe.author.name == "Ada"), "35"),
    ("or", (Recipe.rating == 0) | (Recipe.title == "Recipe 5"), "05"),
    ("not", ~(col(Recipe.rating) > 1), "01"),
    ("not of a group", ~(col(Recipe.rating).in_([1, 2]) | (col(Recipe.author.name) == "Bob")), "35"),
    ("one of", col(Recipe.rating).in_([1, 4, 9]), "14"),
    ("none of", col(Recipe.rating).not_in([1, 4, 9]), "0235"),
    ("nested", Recipe.author.name == "Bob", "024"),
    ("optional nested", Recipe.author.country == "UK", "45"),
    ("none", Recipe.author.country == None, "0123"),  # noqa: E711
    ("not none", Recipe.author.country != None, "45"),  # noqa: E711
    ("list element", col(Recipe.ingredients).contains("flour"), "345"),
    ("list element by index", col(Recipe.ingredients)[0] == "salt", "012"),
    ("matches", col(Recipe.title).matches("[23]$"), "23"),
    ("id", col(Recipe.id).in_(["r1", "r2", "zz"]), "12"),
    ("instant in another zone", col(Recipe.created) > NOON.astimezone(timezone(timedelta(hours=2))), "12345"),
    ("instant with a fraction", col(Recipe.created) <= NOON + timedelta(microseconds=500_000), "012"),
]


@pytest.mark.parametrize(("condition", "expected"), [row[1:] for row in CONDITIONS], ids=[row[0] for row in CONDITIONS])
async def test_a_condition_finds_what_meets_it(shelf: type[Recipe], condition: Condition, expected: str) -> None:
    found = [recipe.id async for recipe in shelf.find(condition)]
    assert "".join(sorted(id[1:] for id in found)) == expected
    assert await shelf.find(condition).count() == len(expected)


async def test_several_conditions_must_hold_all(shelf: type[Recipe]) -> None:
    assert [r.id for r in await shelf.find(Recipe.rating > 1, Recipe.author.name == "Ada").to_list()] == ["r3", "r5"]


async def test_results_are_sorted_and_limited(shelf: type[Recipe]) -> None:
    query = shelf.find(Recipe.rating >= 1).sort(col(Recipe.rating).desc(), col(Recipe.title).desc())
    assert [recipe.rating for recipe in await query.limit(3).to_list()] == [5, 4, 3]
    assert [recipe.rating for recipe in await query.skip(2).limit(2).to_list()] == [3, 2]
    first = await query.first()
    assert first is not None
    assert first.rating == 5


async def test_a_query_is_a_value_that_can_be_asked_again(shelf: type[Recipe]) -> None:
    good = shelf.find(Recipe.rating >= 3)
    assert await good.find(Recipe.author.name == "Bob").count() == 1
    assert await good.count() == await good.count() == 3


async def test_nothing_found_is_no_error(shelf: type[Recipe]) -> None:
    nothing = shelf.find(Recipe.title == "nothing")
    assert (await nothing.to_list(), await nothing.first(), await nothing.count()) == ([], None, 0)
    assert await shelf.find().limit(0).to_list() == []


async def test_no_result_is_cut_short(recipes: type[Recipe]) -> None:
    await recipes.save_all(Recipe(title=f"{n}") for n in range(120))
    assert len(await recipes.find().to_list()) == await recipes.find().count() == 120


async def test_a_query_is_sorted_skipped_and_limited_at_once(shelf: type[Recipe]) -> None:
    ordered = shelf.find().sort(col(Recipe.rating).asc(), col(Recipe.title).asc())
    assert [r.rating for r in await ordered.to_list()] == [0, 1, 2, 3, 4, 5]
    assert [r.rating for r in await ordered.skip(1).limit(4).to_list()] == [1, 2, 3, 4]
    assert len(await shelf.find(Recipe.rating != 3).to_list()) == 5


async def test_documents_that_change_while_they_are_found_hide_no_others(recipes: type[Recipe]) -> None:
    await recipes.save_all(Recipe(title=f"{n}", rating=3) for n in range(1200))
    found = 0
    async for recipe in recipes.find(Recipe.rating == 3):
        found += 1
        recipe.rating = 4
        await recipe.save()
    assert (found, await recipes.find(Recipe.rating == 4).count()) == (1200, 1200)


async def test_sorting_without_an_index_is_refused_and_says_which_to_declare(shelf: type[Recipe]) -> None:
    with pytest.raises(BadRequestError, match=r"declare Index\('created'\) on Recipe"):
        await shelf.find().sort(col(Recipe.created)).to_list()


async def test_a_found_document_can_be_changed_and_saved(shelf: type[Recipe]) -> None:
    async for recipe in shelf.find(Recipe.rating <= 1):
        recipe.title = f"{recipe.title}, changed"
        await recipe.save()
    assert (await shelf.get("r1")).title == "Recipe 1, changed"


async def test_a_found_document_that_does_not_fit_is_named(shelf: type[Recipe], database: Database) -> None:
    await (await database.create("odd", data={"title": 7})).save()
    with pytest.raises(DocumentError, match="'odd'"):
        await shelf.find().to_list()


@pytest.mark.parametrize("wrong", [True, Recipe(title="x").rating >= 4, "rating > 4", None, 4])
def test_what_is_no_condition_is_refused(wrong: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QueryError, match="condition"):
        build_selector([wrong])


@pytest.mark.parametrize(
    "use",
    [
        lambda: bool(col(Recipe.rating) >= 4),
        lambda: col(Recipe.rating) >= 4 and col(Recipe.title) == "x",
        lambda: bool(col(Recipe.rating)),
        lambda: 1 < col(Recipe.rating) < 4,
        lambda: col(Recipe.rating) in [4, 5],
    ],
)
def test_a_condition_has_no_truth_of_its_own(use: "object") -> None:
    with pytest.raises(QueryError, match="no truth value"):
        use()  # type: ignore[operator]


def test_a_field_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        Recipe.ratng  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="author"):
        Recipe.author.nam  # type: ignore[attr-defined]  # noqa: B018


async def test_bulk_saving_stores_the_good_and_names_the_refused(shelf: type[Recipe]) -> None:
    new = Recipe(id="new", title="New")
    with pytest.raises(BulkError, match="2 of 3") as caught:
        await shelf.save_all([Recipe(id="r1", title="again"), new, Recipe(id="r2", title="again")])
    errors = [error for error in caught.value.exceptions if isinstance(error, ConflictError)]
    assert [error.document_id for error in errors] == ["r1", "r2"]
    assert await shelf.get("new") == new


async def test_bulk_saving_sends_what_has_changed_only(shelf: type[Recipe], database: Database) -> None:
    everything = await shelf.find().to_list()
    everything[0].title = "changed"
    before = int((await database.info())["update_seq"].split("-")[0])
    await shelf.save_all(everything)
    assert int((await database.info())["update_seq"].split("-")[0]) == before + 1


async def test_bulk_saving_refuses_a_document_that_is_too_large_alone(recipes: type[Recipe]) -> None:
    large = Recipe(id="large", title="x" * 8_500_000)
    with pytest.raises(BulkError) as refused:
        await recipes.save_all([Recipe(id="a", title="x"), large, Recipe(id="b", title="x")])
    assert [(type(error), "large" in str(error)) for error in refused.value.exceptions] == [
        (ContentTooLargeError, True)
    ]
    assert sorted([each.id async for each in recipes.find()]) == ["a", "b"]


async def test_bulk_saving_a_document_that_does_not_fit_stores_nothing(recipes: type[Recipe]) -> None:
    bad = Recipe(id="bad", title="x")
    bad.rating = 9
    with pytest.raises(DocumentError, match="'bad'"):
        await recipes.save_all([Recipe(id="good", title="x"), bad])
    assert await recipes.find().count() == 0
