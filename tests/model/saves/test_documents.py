"""One document: create, read, change, delete."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from couchmodel import (
    BadRequestError,
    BulkError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    Connection,
    CouchModel,
    DocumentError,
    File,
    Index,
    NotFoundError,
    Repository,
    col,
    connect,
    using,
)
from couchmodel._wire.messages import Request
from couchmodel.engine import Database
from tests.models import Author, Recipe


@pytest.fixture
def sent(couch: Connection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that leave from now on."""
    requests: list[str] = []
    send = couch.session.send

    async def spy(request: Request) -> object:
        requests.append(f"{request.method} {request.path[-1]}")
        return await send(request)

    monkeypatch.setattr("couchmodel.engine._io.session.Session.send", lambda self, request: spy(request))
    return requests


async def test_what_is_saved_is_read_back(recipes: type[Recipe]) -> None:
    pie = recipes(id="pie", title="Apple pie", author=Author(name="Ada", country="UK"), rating=5)
    await pie.save()
    assert await recipes.get("pie") == pie


async def test_a_document_without_an_id_gets_one(recipes: type[Recipe]) -> None:
    first, second = recipes(title="Scones"), recipes(title="Trifle")
    await first.save()
    assert (await recipes.get(first.id)).title == "Scones"
    assert first.id < second.id


async def test_a_missing_document_is_an_error_or_none(recipes: type[Recipe]) -> None:
    with pytest.raises(NotFoundError, match="missing"):
        await recipes.get("nobody")
    assert await recipes.get_or_none("nobody") is None


async def test_a_save_is_one_request_and_an_unchanged_document_sends_none(
    recipes: type[Recipe], sent: list[str]
) -> None:
    pie = recipes(id="pie", title="Apple pie")
    await pie.save()
    await pie.save()
    pie.rating = 4
    await pie.save()
    loaded = await recipes.get("pie")
    await loaded.save()
    assert sent == ["PUT pie", "PUT pie", "GET pie"]


async def test_a_change_inside_a_list_is_noticed(recipes: type[Recipe]) -> None:
    await recipes(id="pie", title="Apple pie").save()
    pie = await recipes.get("pie")
    pie.ingredients.append("cinnamon")
    await pie.save()
    assert (await recipes.get("pie")).ingredients == ["cinnamon"]


async def test_a_conflict_names_the_document_and_carries_all_versions(recipes: type[Recipe]) -> None:
    await recipes(id="pie", title="base").save()
    mine, theirs = await recipes.get("pie"), await recipes.get("pie")
    theirs.title = "theirs"
    await theirs.save()
    mine.title = "mine"
    with pytest.raises(ConflictError, match="'pie'") as caught:
        await mine.save()
    conflict = caught.value
    assert (conflict.document_id, conflict.base.title) == ("pie", "base")
    assert (conflict.mine.title, conflict.theirs) == ("mine", theirs)


async def test_a_conflict_with_a_deletion_has_nothing_of_theirs(recipes: type[Recipe]) -> None:
    await recipes(id="pie", title="base").save()
    mine, theirs = await recipes.get("pie"), await recipes.get("pie")
    await theirs.delete()
    mine.title = "mine"
    with pytest.raises(ConflictError) as caught:
        await mine.save()
    assert caught.value.theirs is None


async def test_a_second_document_of_the_same_id_is_a_conflict(recipes: type[Recipe]) -> None:
    await recipes(id="pie", title="first").save()
    with pytest.raises(ConflictError) as caught:
        await recipes(id="pie", title="second").save()
    assert caught.value.base is None
    assert caught.value.theirs.title == "first"


async def test_a_deleted_document_is_gone_and_can_be_saved_again(recipes: type[Recipe]) -> None:
    pie = recipes(id="pie", title="Apple pie")
    await pie.save()
    await pie.delete()
    assert pie.rev is None
    with pytest.raises(NotFoundError, match="deleted"):
        await recipes.get("pie")
    await pie.save()
    assert (await recipes.get("pie")).title == "Apple pie"


async def test_deleting_another_revision_is_a_conflict(recipes: type[Recipe]) -> None:
    await recipes(id="pie", title="base").save()
    mine, theirs = await recipes.get("pie"), await recipes.get("pie")
    theirs.title = "theirs"
    await theirs.save()
    with pytest.raises(ConflictError):
        await mine.delete()


async def test_members_that_the_model_does_not_know_survive_a_change(recipes: type[Recipe], database: Database) -> None:
    raw = await database.create(
        "pie", data={"title": "pie", "author": {"name": "Ada", "age": 36}, "source": {"page": 7}}
    )
    await raw.save()
    pie = await recipes.get("pie")
    pie.author.country = "UK"
    pie.title = "Apple pie"
    await pie.save()
    stored = (await database.get("pie")).json
    assert stored["author"] == {"name": "Ada", "age": 36, "country": "UK"}
    assert (stored["title"], stored["source"]) == ("Apple pie", {"page": 7})


async def test_a_document_built_with_a_revision_loses_nothing_of_the_stored_one(
    recipes: type[Recipe], database: Database
) -> None:
    raw = await database.create("pie", data={"title": "pie", "source": "book"})
    await raw.save()
    await recipes(id="pie", rev=raw.rev, title="from a form").save()
    stored = (await database.get("pie")).json
    assert (stored["title"], stored["source"]) == ("from a form", "book")


async def test_a_stored_document_that_does_not_fit_names_itself_and_each_field(
    recipes: type[Recipe], database: Database
) -> None:
    raw = await database.create("pie", data={"rating": "many", "author": {"country": "UK"}})
    await raw.save()
    with pytest.raises(DocumentError, match=r"Recipe 'pie' does not fit(.|\n)*title(.|\n)*author.name(.|\n)*rating"):
        await recipes.get("pie")


@pytest.mark.parametrize("rating", [6, "four", None, float("nan")])
async def test_a_document_that_does_not_fit_its_model_any_more_is_not_stored(
    recipes: type[Recipe], rating: object
) -> None:
    pie = recipes(id="pie", title="Apple pie")
    await pie.save()
    pie.rating = rating  # type: ignore[assignment]
    with pytest.raises(DocumentError, match="rating"):
        await pie.save()
    assert (await recipes.get("pie")).rating == 0


@pytest.mark.parametrize("verb", [Recipe.get, Recipe.get_or_none, lambda id: Recipe(id=id, title="x").save()])
@pytest.mark.parametrize("id", ["", ".", "..", "_x", "_design/x", "_local/x", "\ud800"])
async def test_an_id_that_no_document_may_have_is_refused(
    recipes: type[Recipe], verb: Callable[[str], Awaitable[object]], id: str
) -> None:
    with pytest.raises(BadRequestError, match="id"):
        await verb(id)


@pytest.mark.parametrize("id", ["a/b", "a b", "a+b", "50%", "ü", "🍎", "?x=1", "#", "a:b", '"', "..x"])
async def test_any_other_id_leads_to_its_document_only(recipes: type[Recipe], id: str) -> None:
    await recipes(id=id, title="x").save()
    assert (await recipes.get(id)).id == id


async def test_a_missing_database_says_how_to_create_it(couch: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recipe, "__declared__", replace(Recipe.__declared__, database="nowhere-to-be-found"))
    pie = Recipe(title="x")
    for attempt in (Recipe.get("x"), Recipe.get_or_none("x"), pie.save(), Recipe.find().to_list()):
        with pytest.raises(NotFoundError, match=r"Database does not exist.*couch.apply\(Recipe\)"):
            await attempt
    assert pie.rev is None


async def test_applying_twice_changes_nothing(couch: Connection, recipes: type[Recipe], database: Database) -> None:
    before = await database.info()
    await couch.apply(recipes)
    assert (await database.info())["update_seq"].split("-")[0] == before["update_seq"].split("-")[0]


async def test_a_model_needs_no_database_to_be_built_and_dumped() -> None:
    pie = Recipe.model_validate({"id": "pie", "title": "Apple pie"})
    assert pie.model_dump(include={"id", "rev", "title"}) == {"id": "pie", "rev": None, "title": "Apple pie"}
    with pytest.raises(ConfigurationError, match="not bound to a server"):
        await pie.save()


async def test_a_model_without_a_database_says_so(couch: Connection) -> None:
    class Loose(CouchModel):
        name: str

    with pytest.raises(ConfigurationError, match="names no database"):
        await Loose(name="x").save()
    with pytest.raises(ConfigurationError, match="names no database"):
        await couch.apply(Loose)


async def test_a_repository_needs_no_binding(database: Database) -> None:
    repository = Repository(Recipe, database)
    await repository.save(Recipe(id="pie", title="Apple pie"))
    assert (await repository.get("pie")).title == "Apple pie"


async def test_a_document_goes_back_to_where_it_came_from(
    couch: Connection, recipes: type[Recipe], database: Database
) -> None:
    tenant = await couch.create(f"{database.id}-tenant")
    with using(tenant):
        await recipes(id="pie", title="theirs").save()
        pie = await recipes.get("pie")
    pie.rating = 3
    await pie.save()
    assert await recipes.get_or_none("pie") is None
    assert (await Repository(Recipe, tenant).get("pie")).rating == 3
    await tenant.delete()


async def test_a_copy_under_a_new_id_is_stored(recipes: type[Recipe]) -> None:
    pie = recipes(id="pie", title="Apple pie")
    await pie.save()
    await pie.model_copy(update={"id": "pie2", "rev": None}).save()
    assert (await recipes.get("pie2")).title == "Apple pie"


async def test_a_document_of_another_database_is_refused_and_its_copy_stored(
    couch: Connection, recipes: type[Recipe], database: Database
) -> None:
    pie = recipes(id="pie", title="Apple pie")
    await pie.save()
    backup = Repository(Recipe, await couch.create(f"{database.id}-backup"))
    for attempt in (backup.save(pie), backup.save_all([pie]), backup.delete(pie)):
        with pytest.raises(ConfigurationError, match="to store a copy"):
            await attempt
    await backup.save(pie.model_copy(update={"rev": None}))
    assert (await backup.get("pie")).title == "Apple pie"
    await backup.database.delete()


async def test_bulk_saving_loses_nothing_of_what_is_stored_either(recipes: type[Recipe], database: Database) -> None:
    raw = await database.create("pie", data={"title": "pie", "source": "book"})
    await raw.save()
    await raw.attachment("photo").save(b"x", "image/png")
    await recipes.save_all([recipes(id="pie", rev=raw.rev, title="from a form"), recipes(id="new", title="x")])
    stored = await recipes.get("pie")
    assert (stored.title, await stored.photo.fetch()) == ("from a form", b"x")
    assert (await database.get("pie"))["source"] == "book"


async def test_several_workers_may_apply_at_once(couch: Connection, database: Database) -> None:
    class Busy(CouchModel, database=database.id, indexes=[Index("a"), Index("b"), Index("c")]):
        a: int = 0
        b: int = 0
        c: int = 0

    await asyncio.gather(*(couch.apply(Busy) for _ in range(5)))
    assert await Busy.find().sort(col(Busy.c)).to_list() == []


async def test_a_document_outlives_its_connection(url: str, backend: str) -> None:
    class Note(CouchModel, database=f"test-{secrets.token_hex(6)}"):
        text: str

    async with connect(url) as first:
        await first.apply(Note)
        note = Note(text="x")
        await note.save()
    note.text = "y"
    with pytest.raises(ConnectError, match="the connection is closed"):
        await note.save()
    async with connect(url) as second:
        await second.apply(Note)
        if backend == "memory":  # the store of the first is gone
            with pytest.raises(ConflictError):
                await note.save()
        else:
            await note.save()
            assert (await Note.get(note.id)).text == "y"
        await Note.repository().database.delete()


async def test_a_connection_binds_while_its_context_is_open(recipes: type[Recipe]) -> None:
    await recipes(id="pie", title="x").save()
    other = connect("sqlite:/nowhere/to/be/found.db")
    assert (await recipes.get("pie")).title == "x"
    await other.close()


async def test_a_save_that_was_cancelled_is_no_conflict_with_the_next_one(
    recipes: type[Recipe], lost: Callable[[BaseException], None]
) -> None:
    pie = recipes(id="pie", title="x")
    for title in "yz":
        lost(asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            await pie.save()
        await pie.save()
        lost(asyncio.CancelledError())
        pie.rating += 1
        with pytest.raises(asyncio.CancelledError):
            await pie.save()
        pie.title = title
        await pie.save()
        stored = await recipes.get("pie")
        assert (stored.title, stored.rating, stored.rev) == (pie.title, pie.rating, pie.rev)
        pie.rating += 1


async def test_a_conflict_behind_a_save_that_was_cancelled_is_one(
    recipes: type[Recipe], lost: Callable[[BaseException], None]
) -> None:
    pie = recipes(id="pie", title="x")
    lost(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await pie.save()
    theirs = await recipes.get("pie")
    theirs.title = "theirs"
    await theirs.save()
    await pie.save()  # what it has to store is stored, before their change
    pie.title = "mine"
    with pytest.raises(ConflictError) as caught:
        await pie.save()
    assert (caught.value.base.title, caught.value.theirs) == ("x", theirs)


@pytest.mark.parametrize("is_bulk", [False, True])
async def test_a_change_after_a_save_that_was_cancelled_is_in_conflict_with_what_came_between(
    recipes: type[Recipe], lost: Callable[[BaseException], None], is_bulk: bool
) -> None:
    pie = recipes(id="pie", title="x")
    lost(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await pie.save()
    theirs = await recipes.get("pie")
    theirs.title = "theirs"
    await theirs.save()
    pie.title = "mine"
    if is_bulk:
        report = await recipes.save_all([pie], on_error="collect")
        [(_, error)] = report.refused
        assert isinstance(error, ConflictError)
    else:
        with pytest.raises(ConflictError) as caught:
            await pie.save()
        error = caught.value
    assert (error.fields, error.theirs) == ({"title"}, theirs)


@pytest.mark.parametrize("second", [b"first", b"other", b"longer than the first"])
async def test_another_file_than_that_of_a_save_that_was_cancelled_is_stored(
    recipes: type[Recipe], lost: Callable[[BaseException], None], second: bytes
) -> None:
    pie = recipes(id="pie", title="x")
    pie.photo = File(b"first", "image/png")
    lost(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await pie.save()
    pie.photo = File(second, "image/png")
    await pie.save()
    assert (await (await recipes.get("pie")).photo.fetch(), pie.is_changed) == (second, False)


async def test_an_id_that_is_taken_is_told_by_the_first_save(recipes: type[Recipe]) -> None:
    await recipes(id="pie", title="x").save()
    with pytest.raises(ConflictError, match=r"document 'pie' exists already: load it with get\(\)") as caught:
        await recipes(id="pie", title="y").save()
    assert (caught.value.base, caught.value.theirs) == (None, await recipes.get("pie"))
    with pytest.raises(BulkError) as refused:
        await recipes.save_all([recipes(id="pie", title="z")])
    assert "document 'pie' exists already" in str(refused.value.exceptions[0])


class Nested(CouchModel):
    value: Any = None


@pytest.mark.parametrize("levels", [220, 400])
async def test_a_value_that_is_nested_too_deeply_is_refused(database: Database, levels: int) -> None:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    with pytest.raises(DocumentError, match="Nested 'a' cannot be stored") as caught:
        await Repository(Nested, database).save(Nested(id="a", value=value))
    assert caught.value.document_id == "a"
