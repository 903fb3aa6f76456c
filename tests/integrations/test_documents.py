"""Documents over the router of a model: created, read, replaced, changed and deleted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from httpx2 import AsyncClient, Response

from couchmodel import using
from couchmodel.engine import CouchDB, Database, RetryPolicy
from tests.integrations.models import Book, Dish, Guest, Page, Place, json_of

Api = Callable[..., Any]

on_one_backend = pytest.mark.parametrize("backend", ["memory"])
"""For tests of what no store sees."""


def problem(response: Response) -> tuple[int, str]:
    """Return the status and the detail of a problem."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    found = response.json()
    assert found["status"] == response.status_code
    assert found["type"] == "about:blank"
    assert found["title"]
    return response.status_code, found["detail"]


def places(response: Response) -> set[str]:
    """Return the places of the errors of a problem."""
    assert problem(response)[0] == 422
    return {".".join(map(str, each["loc"])) for each in response.json()["errors"]}


@pytest.fixture
async def pie(client: AsyncClient) -> dict[str, Any]:
    """A stored dish, as the client got it."""
    response = await client.post(
        "/dishes",
        json=json_of(
            rating=3, author={"name": "Ada", "country": "UK"}, tags=["a", "b"], scores={"x": 1, "y": 2}, secret="s"
        ),
    )
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_new_document_is_stored_and_shown(client: AsyncClient, pie: dict[str, Any]) -> None:
    read = await client.get(f"/dishes/{pie['id']}")
    assert read.json() == pie
    assert read.headers["etag"] == f'"{pie["rev"]}"'
    assert pie["photo"] is None
    stored = await Dish.get(pie["id"])
    assert (stored.title, stored.rating, stored.secret) == ("Pie", 3, "s")


async def test_the_address_of_a_new_document_is_told(client: AsyncClient) -> None:
    created = await client.post("/dishes", json=json_of())
    assert created.headers["location"] == f"/dishes/{created.json()['id']}"
    assert (await client.get(created.headers["location"])).status_code == 200


async def test_clients_do_not_see_what_is_only_written(client: AsyncClient, pie: dict[str, Any]) -> None:
    assert "secret" not in pie
    assert pie["author"] == {"name": "Ada", "country": "UK", "checked": False}
    changed = await client.patch(f"/dishes/{pie['id']}", json={"secret": "t", "author": {"email": "a@b"}})
    assert "secret" not in changed.json()
    assert "email" not in changed.json()["author"]
    stored = await Dish.get(pie["id"])
    assert stored.secret == "t"
    assert stored.author is not None
    assert stored.author.email == "a@b"


@on_one_backend
@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"body.title"}),
        ({"title": "", "rating": 9}, {"body.title", "body.rating"}),
        ({"title": "7"}, {"body.title"}),
        ({"title": "Pie", "colour": "red"}, {"body.colour"}),
        ({"title": "", "colour": "red"}, {"body.title", "body.colour"}),
        ({"title": "Pie", "author": {"name": "Ada", "age": 3}}, {"body.author.age"}),
        ({"title": "Pie", "author": {"name": "Ada", "checked": True}}, {"body.author.checked"}),
        ({"title": "Pie", "views": 3}, {"body.views"}),
        ({"title": "Pie", "id": "pie"}, {"body.id"}),
        ({"title": "Pie", "rev": "1-0"}, {"body.rev"}),
        ({"title": "Pie", "photo": {}}, {"body.photo"}),
        ({"title": "Pie", "_id": "_design/x"}, {"body._id"}),
        ({"title": "Pie", "_attachments": {"photo": {"data": ""}}}, {"body._attachments"}),
        ({"title": "Pie", "kind": "sweet", "tags": ["meat"]}, {"body"}),
        ([], {"body"}),
    ],
)
async def test_what_does_not_fit_is_refused(client: AsyncClient, body: Any, wrong: set[str]) -> None:
    assert places(await client.post("/dishes", json=body)) == wrong
    assert await Dish.find().count() == 0


@on_one_backend
async def test_a_problem_does_not_repeat_what_was_sent(client: AsyncClient) -> None:
    response = await client.post("/dishes", json=json_of(secret=["hush"], rating="hush"))
    assert "hush" not in response.text


@on_one_backend
@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"nul", b'{"title": NaN}', b"[" * 5000])
async def test_a_broken_body_is_refused(client: AsyncClient, body: bytes) -> None:
    response = await client.post("/dishes", content=body, headers={"content-type": "application/json"})
    assert problem(response)[0] in (400, 422)


@on_one_backend
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_a_body_of_another_media_type_is_refused(client: AsyncClient, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    response = await client.post("/dishes", content=b'{"title": "Pie"}', headers=headers)
    assert problem(response)[0] == 415


@on_one_backend
@pytest.mark.parametrize("id", ["nothing", "_design/x", "_design%2Fx", "_local%2Fx", "a%2Fb", "%2E%2E", "_all_docs"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_what_is_not_there_is_a_problem(client: AsyncClient, id: str, method: str) -> None:
    response = await client.request(method, f"/dishes/{id}", json=json_of())
    assert problem(response)[0] in (404, 405)


async def test_a_problem_names_what_is_missing(client: AsyncClient) -> None:
    assert problem(await client.get("/dishes/nothing")) == (404, "Dish 'nothing' does not exist.")


async def test_a_client_that_has_the_document_gets_304(client: AsyncClient, pie: dict[str, Any]) -> None:
    for tag in (f'"{pie["rev"]}"', f'W/"{pie["rev"]}"', f'"1-0", "{pie["rev"]}"', "*"):
        response = await client.get(f"/dishes/{pie['id']}", headers={"if-none-match": tag})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == f'"{pie["rev"]}"'
    assert (await client.get(f"/dishes/{pie['id']}", headers={"if-none-match": '"1-0"'})).status_code == 200


@pytest.mark.parametrize("kind", ["application/json", "application/merge-patch+json"])
async def test_a_patch_changes_the_members_that_it_names(client: AsyncClient, pie: dict[str, Any], kind: str) -> None:
    patch = b'{"rating": 5, "author": {"country": null}, "scores": {"x": null, "z": 3}, "tags": ["c"]}'
    changed = await client.patch(f"/dishes/{pie['id']}", content=patch, headers={"content-type": kind})
    assert changed.status_code == 200, changed.text
    expected = {
        **pie,
        "rev": changed.json()["rev"],
        "rating": 5,
        "author": {"name": "Ada", "country": None, "checked": False},
        "scores": {"y": 2, "z": 3},
        "tags": ["c"],
    }
    assert changed.json() == expected == (await client.get(f"/dishes/{pie['id']}")).json()


async def test_a_patch_sets_null_only_where_the_field_takes_it(client: AsyncClient, pie: dict[str, Any]) -> None:
    cleared = await client.patch(f"/dishes/{pie['id']}", json={"author": None, "note": None})
    assert cleared.json()["author"] is None
    refused = await client.patch(f"/dishes/{pie['id']}", json={"title": None, "rating": None})
    assert places(refused) == {"body.title", "body.rating"}


@on_one_backend
@pytest.mark.parametrize(
    ("patch", "wrong"),
    [
        ({"rating": 9, "title": ""}, {"body.rating", "body.title"}),
        ({"author": {"name": None}}, {"body.author.name"}),
        ({"author": {"checked": True}}, {"body.author.checked"}),
        ({"author": {"age": 3}}, {"body.author.age"}),
        ({"views": 1}, {"body.views"}),
        ({"id": "x"}, {"body.id"}),
        ({"rev": "1-0"}, {"body.rev"}),
        ({"_deleted": True}, {"body._deleted"}),
        ({"photo": None}, {"body.photo"}),
        ({"scores": {"x": "many"}}, {"body.scores.x"}),
        ({"kind": "sweet", "tags": ["meat"]}, {"body"}),
        (["title"], {"body"}),
    ],
)
async def test_a_patch_that_does_not_fit_changes_nothing(
    client: AsyncClient, pie: dict[str, Any], patch: Any, wrong: set[str]
) -> None:
    assert places(await client.patch(f"/dishes/{pie['id']}", json=patch)) == wrong
    assert (await client.get(f"/dishes/{pie['id']}")).json() == pie


async def test_a_patch_may_make_an_embedded_model(client: AsyncClient, pie: dict[str, Any]) -> None:
    await client.patch(f"/dishes/{pie['id']}", json={"author": None})
    made = await client.patch(f"/dishes/{pie['id']}", json={"author": {"name": "Bo"}})
    assert made.json()["author"] == {"name": "Bo", "country": None, "checked": False}
    await client.patch(f"/dishes/{pie['id']}", json={"author": None})
    assert places(await client.patch(f"/dishes/{pie['id']}", json={"author": {}})) == {"body.author.name"}


async def test_patches_at_the_same_time_are_merged(client: AsyncClient, pie: dict[str, Any]) -> None:
    patches = [{"rating": 5}, {"note": "hot"}, {"scores": {"z": 1}}, {"scores": {"w": 2}}]
    responses = await asyncio.gather(*(client.patch(f"/dishes/{pie['id']}", json=each) for each in patches))
    assert [each.status_code for each in responses] == [200] * 4
    found = (await client.get(f"/dishes/{pie['id']}")).json()
    assert (found["rating"], found["note"]) == (5, "hot")
    assert found["scores"] == {"x": 1, "y": 2, "z": 1, "w": 2}


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"rating": 1}), ("PUT", json_of()), ("DELETE", None)])
async def test_a_stale_tag_is_refused_with_the_current_document(
    client: AsyncClient, pie: dict[str, Any], method: str, body: Any
) -> None:
    address, stale = f"/dishes/{pie['id']}", {"if-match": f'"{pie["rev"]}"'}
    current = (await client.patch(address, json={"rating": 4}, headers=stale)).json()
    refused = await client.request(method, address, json=body, headers=stale)
    assert problem(refused)[0] == 412
    assert refused.json()["current"] == current
    assert refused.headers["etag"] == f'"{current["rev"]}"'
    assert (await client.get(address)).json() == current
    weak = await client.request(method, address, json=body, headers={"if-match": f'W/"{current["rev"]}"'})
    assert problem(weak)[0] == 412
    accepted = await client.request(method, address, json=body, headers={"if-match": f'"1-0", "{current["rev"]}"'})
    assert accepted.status_code in (200, 204)


async def test_of_many_writes_with_one_tag_one_is_carried_out(client: AsyncClient, pie: dict[str, Any]) -> None:
    headers = {"if-match": f'"{pie["rev"]}"'}
    requests = (client.patch(f"/dishes/{pie['id']}", json={"note": str(n)}, headers=headers) for n in range(5))
    statuses = [response.status_code for response in await asyncio.gather(*requests)]
    assert sorted(statuses) == [200, 412, 412, 412, 412]


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"rating": 1}), ("PUT", json_of()), ("DELETE", None)])
async def test_a_tag_can_be_required(api: Api, method: str, body: Any) -> None:
    client = await api(if_match_required=True)
    created = await client.post("/dishes", json=json_of())
    address = created.headers["location"]
    assert problem(await client.request(method, address, json=body))[0] == 428
    tag = {"if-match": created.headers["etag"]}
    assert (await client.request(method, address, json=body, headers=tag)).status_code in (200, 204)


async def test_a_replacement_has_the_values_of_the_request(client: AsyncClient, pie: dict[str, Any]) -> None:
    replaced = await client.put(f"/dishes/{pie['id']}", json={"title": "Tart"})
    assert replaced.status_code == 200
    found = replaced.json()
    assert (found["id"], found["title"], found["rating"], found["author"]) == (pie["id"], "Tart", 0, None)
    assert found["rev"] != pie["rev"]


async def test_what_was_read_can_be_sent_back(client: AsyncClient, pie: dict[str, Any]) -> None:
    stored = await Dish.get(pie["id"])
    await stored.update(views=7)
    await stored.photo.save(b"png", "image/png")
    read = (await client.get(f"/dishes/{pie['id']}")).json()
    assert (await client.put(f"/dishes/{pie['id']}", json={**read, "rating": 4})).json()["rating"] == 4
    again = await Dish.get(pie["id"])
    assert (again.views, again.photo.content_type) == (7, "image/png")
    stale = await client.put(f"/dishes/{pie['id']}", json=read)
    assert problem(stale)[0] == 412
    current = (await client.get(f"/dishes/{pie['id']}")).json()
    assert places(await client.put(f"/dishes/{pie['id']}", json={**current, "views": 8})) == {"body.views"}


async def test_a_deleted_document_is_gone(client: AsyncClient, pie: dict[str, Any]) -> None:
    deleted = await client.delete(f"/dishes/{pie['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert problem(await client.get(f"/dishes/{pie['id']}"))[0] == 404
    assert problem(await client.delete(f"/dishes/{pie['id']}"))[0] == 404


async def test_members_that_the_model_does_not_declare_are_kept(
    client: AsyncClient, pie: dict[str, Any], database: Database
) -> None:
    stored = await database.get(pie["id"])
    stored["foreign"] = 1
    await stored.save()
    await client.put(f"/dishes/{pie['id']}", json=json_of())
    await client.patch(f"/dishes/{pie['id']}", json={"rating": 1})
    assert (await database.get(pie["id"]))["foreign"] == 1
    assert "foreign" not in (await client.get(f"/dishes/{pie['id']}")).json()


async def test_a_stored_document_that_does_not_fit_is_not_shown(client: AsyncClient, database: Database) -> None:
    document = await database.create("odd", data={"title": ["hush"]})
    await document.save()
    response = await client.get("/dishes/odd")
    assert problem(response) == (500, "The stored document does not fit its model.")
    assert "hush" not in response.text


UNSTORABLE = [b'{"title": "\\ud800"}', b'{"title": "x", "\\ud800": 1}', b'{"title": %b1%b}' % (b"[" * 900, b"]" * 900)]


@on_one_backend
@pytest.mark.parametrize("body", UNSTORABLE)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_json_that_cannot_be_stored_is_a_bad_request(
    client: AsyncClient, pie: dict[str, Any], method: str, body: bytes
) -> None:
    path = "/dishes" if method == "POST" else f"/dishes/{pie['id']}"
    response = await client.request(method, path, content=body, headers={"content-type": "application/json"})
    assert problem(response)[0] == 400
    assert (await client.get(f"/dishes/{pie['id']}")).json() == pie


@pytest.mark.parametrize("other", [{"type": "waiter", "name": "Bo"}, {"name": "Bo"}])
async def test_a_document_of_another_type_does_not_exist_and_is_kept(
    api: Api, database: Database, other: dict[str, Any]
) -> None:
    client = await api(Guest)
    document = await database.create("bo", data=other)
    await document.save()
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        response = await client.request(method, "/dishes/bo", json=body)
        assert problem(response) == (404, "Guest 'bo' does not exist."), method
    assert problem(await client.put("/dishes/bo", json={"name": "x"})) == (409, "'bo' exists already.")
    assert problem(await client.post("/dishes", json={"id": "bo", "name": "x"})) == (409, "'bo' exists already.")
    assert dict(await database.get("bo")).items() >= other.items()


class TestModelsWithFreeMembers:
    async def test_members_of_outside_may_not_begin_with_an_underscore(self, api: Api) -> None:
        client = await api(Page)
        created = await client.post("/dishes", json={"title": "Home", "colour": "red"})
        assert created.json()["colour"] == "red"
        body = {"title": "x", "_id": "_design/guard", "validate_doc_update": "function () { throw({forbidden: 1}) }"}
        assert places(await client.post("/dishes", json=body)) == {"body._id"}
        assert places(await client.patch(created.headers["location"], json={"_deleted": True})) == {"body._deleted"}
        changed = await client.patch(created.headers["location"], json={"colour": None, "size": 3})
        assert changed.json() == {"id": changed.json()["id"], "rev": changed.json()["rev"], "title": "Home", "size": 3}


class TestIds:
    async def test_an_id_is_made_of_fields(self, api: Api) -> None:
        client = await api(Book)
        created = await client.post("/dishes", json={"slug": "sea", "pages": 3})
        assert (created.json()["id"], created.headers["location"]) == ("book:sea", "/dishes/book%3Asea")
        assert (await client.get(created.headers["location"])).json()["pages"] == 3
        assert problem(await client.post("/dishes", json={"slug": "sea"})) == (409, "'book:sea' exists already.")
        assert problem(await client.patch("/dishes/book:sea", json={"slug": "lake"}))[0] == 422
        assert problem(await client.post("/dishes", json={"slug": "a/b"}))[0] == 422

    async def test_a_model_that_declares_its_id_takes_it_from_outside(self, api: Api) -> None:
        client = await api(Place)
        assert places(await client.post("/dishes", json={"name": "Rome"})) == {"body.id"}
        created = await client.post("/dishes", json={"id": "rome", "name": "Rome"})
        assert created.json()["id"] == "rome"
        for id in ("_design/x", "_local/x", "_x", "a/b", "..", "", "a\x00", "x" * 41):
            assert places(await client.post("/dishes", json={"id": id})) == {"body.id"}, id

    async def test_such_a_document_can_be_put(self, api: Api) -> None:
        client = await api(Place)
        created = await client.put("/dishes/rome", json={"name": "Rome"}, headers={"if-none-match": "*"})
        assert (created.status_code, created.headers["location"]) == (201, "/dishes/rome")
        again = await client.put("/dishes/rome", json={"name": "Roma"}, headers={"if-none-match": "*"})
        assert problem(again)[0] == 412
        assert (await client.put("/dishes/rome", json={"name": "Roma"})).json()["name"] == "Roma"
        assert problem(await client.put("/dishes/rome", json={"id": "paris"}))[0] == 422
        assert problem(await client.put("/dishes/oslo", json={}, headers={"if-match": '"1-0"'}))[0] == 412
        for id in ("_design%2Fx", "_local%2Fx", "_x"):
            assert problem(await client.put(f"/dishes/{id}", json={}))[0] in (404, 405)


async def test_a_store_that_is_down_is_unavailable(client: AsyncClient) -> None:
    async with CouchDB("http://127.0.0.1:9", retry_policy=RetryPolicy(attempts=1)) as down:
        with using(down):
            assert problem(await client.get("/dishes/pie")) == (503, "The store cannot be reached now.")


async def test_a_replacement_keeps_what_only_the_server_sets(client: AsyncClient, pie: dict[str, Any]) -> None:
    stored = await Dish.get(pie["id"])
    assert stored.author is not None
    stored.author.checked, stored.views = True, 3
    await stored.save()
    replaced = await client.put(f"/dishes/{pie['id']}", json=json_of(author={"name": "Bo"}))
    assert (replaced.json()["author"]["checked"], replaced.json()["views"]) == (True, 3)


@on_one_backend
async def test_a_body_that_is_too_large_is_refused(client: AsyncClient) -> None:
    read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        yield b'{"title": "'
        for _ in range(1000):
            read += 1
            yield b"x" * 100_000

    response = await client.post("/dishes", content=pieces(), headers={"content-type": "application/json"})
    assert (problem(response)[0], read < 200) == (413, True)
