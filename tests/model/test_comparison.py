"""What docs/compare.md says of couchmodel is true.

The tests of other modules show most of its rows. Those here show the rest, and that the page is up to date.
"""

import re
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, create_model

from couchmodel import Connection, CouchModel, Field, Mapped, Repository
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import ChangedEvent, Database, Session
from tests.models import Recipe

PAGE = Path(__file__).parents[2] / "docs" / "compare.md"
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for table in PAGE.read_text(encoding="utf-8").split("| feature |")[1:]
    for line in table.split("\n\n")[0].splitlines()[2:]
]
STATUS = {feature: status for feature, _, status, _ in ROWS}
NAMES = sorted(set(re.findall(r"`~([\w.]+)`", PAGE.read_text(encoding="utf-8"))))
LOOK_UP = re.compile(r"\]\([\w/-]+\.md|\{(class|meth|func|doc)\}`")
NOT_YET: dict[str, str] = {}


def exists(name: str) -> bool:
    """Return True if there is a module, or a member of a module or a class, of this name."""
    package, *members = name.split(".")
    for count in range(len(members), -1, -1):
        try:
            module = import_module(".".join([package, *members[:count]]))
            reduce(getattr, members[count:], module)
        except (ImportError, AttributeError):
            continue
        return True
    return False


# --- the page


def test_the_names_on_the_page_can_be_looked_up() -> None:
    assert NAMES
    assert [name for name in NAMES if not exists(name)] == []


def test_each_row_says_where_to_look_it_up() -> None:
    assert len(STATUS) == len(ROWS)
    assert set(STATUS.values()) <= {"present", "partly", "engine", "not yet", "absent"}
    assert [row for row in ROWS if row[2] not in {"not yet", "absent"} and not LOOK_UP.search(row[3])] == []


def test_a_feature_is_not_yet_there_only_as_long_as_the_page_says_so() -> None:
    wrong = [feature for feature, name in NOT_YET.items() if exists(name) != (STATUS[feature] != "not yet")]
    assert not wrong, "correct these rows of docs/compare.md"


def test_each_feature_that_is_missing_for_now_is_watched() -> None:
    assert [feature for feature, status in STATUS.items() if status == "not yet" and feature not in NOT_YET] == []


# --- models


class Dish(CouchModel):
    title: Mapped[str] = Field(alias="heading", stored_as="name")


async def test_an_api_and_the_store_may_have_different_names_of_a_field(database: Database) -> None:
    dishes = Repository(Dish, database)
    await dishes.save(Dish.model_validate({"id": "pie", "heading": "Apple pie"}))
    assert (await database["pie"]).json["name"] == "Apple pie"
    assert (await dishes.find(Dish.title == "Apple pie").one()).model_dump(by_alias=True)["heading"] == "Apple pie"


async def test_a_model_can_be_made_at_run_time(couch: Connection, recipes: type[Recipe]) -> None:
    cake: Any = create_model("Cake", __base__=recipes, layers=(int, 1))
    await cake(id="cake", title="Sponge", layers=3).save()
    assert [each.layers async for each in cake.find(cake.layers == 3)] == [3]


class Card(BaseModel):
    id: str
    title: str


async def test_a_part_of_a_document_is_a_plain_model(recipes: type[Recipe]) -> None:
    await recipes(id="pie", title="Apple pie").save()
    (card,) = await recipes.find().project(Card)
    assert type(card) is Card
    assert card == Card(id="pie", title="Apple pie")


async def test_refreshing_a_current_document_transfers_nothing(
    recipes: type[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    pie = recipes(id="pie", title="Apple pie")
    await pie.save()
    answers: list[tuple[int, bytes]] = []
    send = Session.send

    async def spy(session: Session, request: Request) -> Response:
        response = await send(session, request)
        answers.append((response.status, response.body))
        return response

    monkeypatch.setattr(Session, "send", spy)
    await pie.refresh()
    assert answers == [(304, b"")]


# --- the engine, on the documents of models


async def test_the_engine_reads_the_documents_of_models_without_models(
    recipes: type[Recipe], database: Database
) -> None:
    await recipes(id="pie", title="Apple pie", rating=5).save()
    assert [each["title"] async for each in database.find({"rating": 5})] == ["Apple pie"]


async def test_the_engine_reads_old_revisions_of_models(recipes: type[Recipe], database: Database) -> None:
    pie = recipes(id="pie", title="Apple pie")
    await pie.save()
    first = pie.rev
    pie.title = "Cherry pie"
    await pie.save()
    document = await database["pie"]
    assert await document.revs() == [pie.rev, first]
    assert (await database.get("pie", rev=first))["title"] == "Apple pie"


async def test_the_engine_follows_the_changes_of_models(recipes: type[Recipe], database: Database) -> None:
    await recipes(id="pie", title="Apple pie").save()
    feed = database.changes(doc_ids=["pie"], include_docs=True)
    (event,) = [each async for each in feed]
    assert isinstance(event, ChangedEvent)
    assert (await event.doc())["title"] == "Apple pie"
