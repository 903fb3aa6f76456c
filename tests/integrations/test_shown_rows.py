"""What a list shows is kept by the stored text of each document, where that text is always shown alike."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, Header
from pydantic import BaseModel, computed_field, field_serializer, model_validator

from couchmodel import Attachment, CouchModel, Field, Mapped, Query, Repository, after_load, attachment
from couchmodel.engine import Database
from couchmodel.integrations.fastapi import crud_router
from tests.integrations.test_documents import on_one_backend

numbers = itertools.count(1)


class Plain(CouchModel):
    title: Mapped[str]
    tags: Mapped[list[str]] = Field(default_factory=list)
    photo: Attachment = attachment()


class Made(CouchModel):
    title: Mapped[str]
    number: Mapped[int] = Field(default_factory=lambda: next(numbers))


class Computed(CouchModel):
    title: Mapped[str]

    @computed_field
    def number(self) -> int:
        return next(numbers)


class Loaded(CouchModel):
    title: Mapped[str]
    number: Mapped[int] = Field(default=0)

    @after_load
    def count(self) -> None:
        self.number = next(numbers)


class Validated(CouchModel):
    title: Mapped[str]
    number: Mapped[int] = Field(default=0)

    @model_validator(mode="after")
    def count(self) -> "Validated":
        vars(self)["number"] = next(numbers)
        return self


class Written(CouchModel):
    title: Mapped[str]
    number: Mapped[int] = Field(default=0)

    @field_serializer("number")
    def count(self, value: int) -> int:
        return next(numbers)


class Inner(BaseModel):
    number: int = Field(default_factory=lambda: next(numbers))


class Nested(CouchModel):
    title: Mapped[str]
    inner: Mapped[Inner] = Field(default=Inner(number=0))


def make_number() -> int:
    return next(numbers)


class Part(BaseModel):
    number: int = Field(default_factory=make_number)


class Assembled(CouchModel):
    title: Mapped[str]
    own: Mapped[int] = Field(default_factory=make_number)
    inner: Mapped[Part] = Field(default=Part(number=0))


class Kept(CouchModel, type="kept"):
    title: Mapped[str]


class KeptChild(Kept, type="child"):
    @computed_field
    def number(self) -> int:
        return next(numbers)


@on_one_backend
@pytest.mark.parametrize("model", [Made, Computed, Loaded, Validated, Written, Nested, Assembled, Kept])
async def test_what_is_made_anew_is_shown_anew(
    api: Callable[..., Any], database: Database, model: type[CouchModel]
) -> None:
    client = await api(model)
    document = await database.create("pie")
    members = {"title": "Pie", "inner": {}, "own": 1, "type": "child"}
    document.update(members if model in (Nested, Assembled, Kept) else {"title": "Pie"})
    await document.save()
    first, second = [(await client.get("/dishes")).json()["items"][0] for _ in range(2)]
    shown = [each["inner"] if model in (Nested, Assembled) else each for each in (first, second)]
    assert shown[0]["number"] < shown[1]["number"]


@on_one_backend
async def test_a_default_that_is_stored_is_shown_as_it_is_stored(api: Callable[..., Any]) -> None:
    client = await api(Made)
    stored = (await client.post("/dishes", json={"title": "Pie"})).json()
    assert [(await client.get("/dishes")).json()["items"] for _ in range(2)] == [[stored]] * 2


async def test_a_changed_document_is_shown_as_it_is_now(
    api: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel.integrations._core.shown.rows.KEPT_BYTES", 700)
    client = await api(Plain)
    for n in range(5):
        await client.post("/dishes", json={"title": f"Pie {n}"})
    for n in range(3):
        shown = (await client.get("/dishes")).json()["items"]
        assert (await client.get("/dishes")).json()["items"] == shown
        changed = (await client.patch(f"/dishes/{shown[n]['id']}", json={"title": "Tart"})).json()
        assert (await client.get("/dishes")).json()["items"][n] == changed
        await client.delete(f"/dishes/{shown[n]['id']}")
        assert [each["id"] for each in (await client.get("/dishes")).json()["items"]] == [
            each["id"] for each in shown if each["id"] != shown[n]["id"]
        ]
        await client.post("/dishes", json={"title": "another"})


class Owned(CouchModel):
    title: Mapped[str]
    owner: Mapped[str]
    secret: str = "of the kitchen"


class Guest(Owned):
    secret: str = Field(default="of the kitchen", exclude=True)


class OwnRepository(Repository[Owned]):
    """The repository of one user, whose queries find that user's documents only."""

    def __init__(self, database: Database, owner: str) -> None:
        super().__init__(Owned, database)
        self.owner = owner

    def find(self, *conditions: Any, **options: Any) -> Query[Owned]:
        return super().find(Owned.owner == self.owner, *conditions, **options)


@on_one_backend
async def test_each_user_is_shown_what_the_own_repository_finds(
    bind: Callable[..., Any], client_of: Callable[..., Any], database: Database
) -> None:
    await bind(Owned)
    await Owned.save_all([Owned(title="Pie", owner="ada"), Owned(title="Soup", owner="bo")])

    def of_user(user: str = Header()) -> Repository[Owned]:
        return OwnRepository(database, user)

    app = FastAPI()
    app.include_router(crud_router(Owned, repository=of_user), prefix="/dishes")
    client = client_of(app)
    for user, title in (("ada", "Pie"), ("bo", "Soup"), ("ada", "Pie")):
        shown = (await client.get("/dishes", headers={"user": user})).json()["items"]
        assert [each["title"] for each in shown] == [title]


@on_one_backend
async def test_each_model_of_a_repository_shows_its_own_fields(
    bind: Callable[..., Any], client_of: Callable[..., Any], database: Database
) -> None:
    await bind(Owned)
    await Owned(title="Pie", owner="ada").save()

    def of_user(user: str = Header()) -> Repository[Any]:
        return Repository(Guest if user == "guest" else Owned, database)

    app = FastAPI()
    app.include_router(crud_router(Owned, repository=of_user), prefix="/dishes")
    client = client_of(app)
    for user in ("guest", "cook", "guest"):
        shown = (await client.get("/dishes", headers={"user": user})).json()["items"]
        assert ["secret" in each for each in shown] == [user == "cook"]


@on_one_backend
async def test_an_attachment_has_the_address_at_which_its_list_is_read(
    bind: Callable[..., Any], client_of: Callable[..., Any]
) -> None:
    await bind(Plain)
    app, router = FastAPI(), crud_router(Plain)
    for prefix in ("/dishes", "/meals"):
        app.include_router(router, prefix=prefix)
    client = client_of(app)
    stored = (await client.post("/dishes", json={"title": "Pie"})).json()
    await client.put(f"/dishes/{stored['id']}/photo", content=b"photo", headers={"content-type": "image/png"})
    for prefix in ("/dishes", "/meals", "/dishes"):
        photo = (await client.get(prefix)).json()["items"][0]["photo"]
        assert photo["url"] == f"{prefix}/{stored['id']}/photo"
