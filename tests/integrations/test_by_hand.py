"""Functions of FastAPI that use the faces of a model, and the errors that leave them."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient

from couchmodel import Connection, CouchModel, Repository
from couchmodel.engine import Database
from couchmodel.integrations.fastapi import (
    Create,
    Found,
    Patch,
    Read,
    Session,
    add_problem_details,
    crud_router,
    found,
    lifespan,
)
from tests.integrations.conftest import Client
from tests.integrations.models import Dish, json_of
from tests.integrations.test_documents import on_one_backend, places, problem

Api = Callable[..., Any]


def make_app() -> FastAPI:
    app = FastAPI()
    add_problem_details(app)

    @app.post("/dishes", status_code=201)
    async def create(dish: Create[Dish]) -> Read[Dish]:
        await dish.save()
        return dish

    @app.get("/dishes")
    async def list_all() -> list[Read[Dish]]:
        return await Dish.find()

    @app.get("/dishes/{id}")
    async def read(dish: Found[Dish]) -> Read[Dish]:
        return dish

    @app.patch("/dishes/{id}")
    async def change(dish: Found[Dish], patch: Patch[Dish]) -> Read[Dish]:
        assert "rev" not in patch
        await dish.update(patch)
        return dish

    @app.delete("/dishes/{id}", status_code=204)
    async def delete(dish: Annotated[Dish, Depends(found(Dish, if_match_required=True))]) -> None:
        await dish.delete()

    @app.put("/dishes/{id}/photo", status_code=204)
    async def write_photo(dish: Found[Dish], request: Request) -> None:
        await dish.photo.save(request.stream(), request.headers["content-type"])

    @app.get("/dishes/{id}/photo")
    async def read_photo(dish: Found[Dish]) -> StreamingResponse:
        return StreamingResponse(dish.photo.stream(), media_type=dish.photo.content_type)

    return app


def add_failures(app: FastAPI) -> None:
    @app.get("/tea")
    async def tea() -> None:
        raise HTTPException(418, {"pot": "short"}, {"x-pot": "short"})

    @app.get("/fail")
    async def fail() -> None:
        raise ZeroDivisionError("hush")

    @app.get("/wrong")
    async def wrong() -> None:
        Dish(title="", rating=99)


APP = make_app()
add_failures(APP)


@pytest.fixture
async def client(bind: Callable[[type[CouchModel]], Any], client_of: Client) -> AsyncClient:
    """The client of an application whose functions use the faces of dishes."""
    await bind(Dish)
    client = client_of(APP)
    client._transport.raise_app_exceptions = False  # type: ignore[attr-defined]
    return client


async def test_faces_are_read_and_shown(client: AsyncClient) -> None:
    created = await client.post("/dishes", json=json_of(rating=2, secret="hush"))
    assert created.status_code == 201, created.text
    pie = created.json()
    assert {"id", "rev"} <= pie.keys()
    assert "secret" not in pie
    changed = await client.patch(f"/dishes/{pie['id']}", json={"rating": 3})
    assert (changed.json()["rating"], changed.json()["title"]) == (3, "Pie")
    assert (await client.get("/dishes")).json() == [changed.json()]


@on_one_backend
async def test_input_that_does_not_fit_is_a_problem(client: AsyncClient) -> None:
    assert places(await client.post("/dishes", json={"title": "", "x": 1})) == {"body.title", "body.x"}
    pie = (await client.post("/dishes", json=json_of())).json()
    assert places(await client.patch(f"/dishes/{pie['id']}", json={"rating": 9})) == {"body.rating"}
    assert places(await client.patch(f"/dishes/{pie['id']}", json={"id": "x"})) == {"body.id"}
    broken = await client.post("/dishes", content=b"{", headers={"content-type": "application/json"})
    assert problem(broken)[0] == 400
    other = await client.post("/dishes", content=b"{}", headers={"content-type": "text/plain"})
    assert problem(other)[0] == 415


@on_one_backend
@pytest.mark.parametrize("value", ["[" * 900 + "]" * 900, "[" * 250 + "]" * 250, '"\\ud800"', "9" * 5000])
async def test_json_that_cannot_be_stored_is_a_problem(client: AsyncClient, value: str) -> None:
    pie = (await client.post("/dishes", json=json_of())).json()
    headers = {"content-type": "application/json"}
    body = f'{{"title":"Pie","note":{value}}}'
    assert problem(await client.patch(f"/dishes/{pie['id']}", content=body, headers=headers))[0] in (400, 422)
    assert problem(await client.post("/dishes", content=body, headers=headers))[0] in (400, 422)


async def test_a_document_is_found_under_its_conditions(client: AsyncClient) -> None:
    address = f"/dishes/{(await client.post('/dishes', json=json_of())).json()['id']}"
    tag = (await client.get(address)).headers["etag"]
    assert (await client.get(address, headers={"if-none-match": tag})).status_code == 304
    changed = await client.patch(address, json={"rating": 1}, headers={"if-match": tag})
    stale = await client.patch(address, json={"rating": 2}, headers={"if-match": tag})
    assert (problem(stale)[0], stale.json()["current"]) == (412, changed.json())
    assert problem(await client.delete(address))[0] == 428
    assert (await client.delete(address, headers={"if-match": "*"})).status_code == 204
    assert problem(await client.get(address))[0] == 404
    assert problem(await client.get("/dishes/_design%2Fx"))[0] == 404


async def test_photos_by_hand_are_problems_too(client: AsyncClient) -> None:
    address = f"/dishes/{(await client.post('/dishes', json=json_of())).json()['id']}/photo"
    missing = await client.get(address)
    assert problem(missing)[0] == 404
    for kind, content in (("text/plain", b"x"), ("image/png", b"x" * 5000)):
        refused = await client.put(address, content=content, headers={"content-type": kind})
        assert problem(refused)[0] == 422
    assert (await client.put(address, content=b"png", headers={"content-type": "image/png"})).status_code == 204
    assert (await client.get(address)).content == b"png"


@on_one_backend
async def test_errors_of_the_framework_are_problems(client: AsyncClient) -> None:
    tea = await client.get("/tea")
    assert (problem(tea)[0], tea.headers["x-pot"], tea.json()["reason"]) == (418, "short", {"pot": "short"})
    assert problem(await client.get("/nowhere"))[0] == 404
    assert problem(await client.put("/tea"))[0] == 405


@on_one_backend
@pytest.mark.parametrize("path", ["/fail", "/wrong"])
async def test_the_client_is_told_nothing_of_a_mistake_of_the_program(client: AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert problem(response) == (500, "The application has failed.")


@on_one_backend
def test_openapi_has_the_faces_by_name(client: AsyncClient) -> None:
    schemas = APP.openapi()["components"]["schemas"]
    assert {"DishCreate", "DishPatch", "DishRead", "AuthorPatch"} <= schemas.keys()
    create, patch, read = (schemas[f"Dish{face}"] for face in ("Create", "Patch", "Read"))
    assert create["required"] == ["title"]
    assert not create["properties"].keys() & {"id", "rev", "photo", "views", "_id"}
    assert "secret" in create["properties"]
    assert "required" not in patch
    assert not patch["properties"].keys() & {"id", "rev", "photo", "views"}
    assert {"id", "rev"} <= set(read["required"])
    assert {"photo", "views"} <= read["properties"].keys()
    assert not read["properties"].keys() & {"secret", "_id"}
    assert read["properties"]["views"]["readOnly"] is True


async def test_an_application_without_problem_details_answers_as_well(bind: Api, client_of: Client) -> None:
    await bind(Dish)
    app = FastAPI()
    app.include_router(crud_router(Dish, exclude=["changes"]), prefix="/dishes")

    @app.get("/by-hand/{id}")
    async def read(dish: Found[Dish]) -> Read[Dish]:
        return dish

    client = client_of(app)
    assert problem(await client.get("/dishes/nothing"))[0] == 404
    assert places(await client.post("/dishes", json={"title": ""})) == {"body.title"}
    assert (await client.get("/by-hand/nothing")).json() == {"detail": "Dish 'nothing' does not exist."}


async def test_each_tenant_has_its_repository(
    bind: Api, client_of: Client, couch: Connection, database: Database
) -> None:
    await bind(Dish)
    other = await couch.create(f"{database.id}-other")
    await Repository(Dish, other).apply()

    async def of_tenant(session: Session, tenant: Annotated[str, Header()]) -> Repository[Dish]:
        return Repository(Dish, session.database(f"{database.id}{tenant}"))

    app = FastAPI()
    app.state.couch = couch
    app.include_router(crud_router(Dish, repository=of_tenant), prefix="/dishes")
    client = client_of(app)
    created = await client.post("/dishes", json=json_of(), headers={"tenant": "-other"})
    assert created.status_code == 201, created.text
    address = created.headers["location"]
    assert (await client.get(address, headers={"tenant": "-other"})).status_code == 200
    assert problem(await client.get(address, headers={"tenant": ""}))[0] == 404
    assert problem(await client.get(address, headers={"tenant": "-missing"}))[0] == 404
    assert problem(await client.get(address))[0] == 422
    await other.delete()


async def test_routes_can_be_left_out_and_guarded(api: Api, bind: Api, client_of: Client) -> None:
    await bind(Dish)

    async def refuse() -> None:
        raise HTTPException(403, "members only")

    app = FastAPI()
    add_problem_details(app)
    router = crud_router(Dish, exclude=["delete", "list"], guards={"create": [Depends(refuse)]})

    @router.get("")
    async def own_list() -> list[str]:
        return ["mine"]

    app.include_router(router, prefix="/dishes")
    client = client_of(app)
    assert problem(await client.post("/dishes", json=json_of())) == (403, "members only")
    assert (await client.get("/dishes")).json() == ["mine"]
    assert problem(await client.delete("/dishes/x"))[0] == 405
    with pytest.raises(ValueError, match="did you mean 'delete'"):
        crud_router(Dish, exclude=["delet"])  # type: ignore[list-item]


@on_one_backend
@pytest.mark.parametrize("way", ["excluded", "guarded"])
async def test_a_stale_tag_shows_no_document_that_may_not_be_read(bind: Api, client_of: Client, way: str) -> None:
    await bind(Dish)

    async def refuse() -> None:
        raise HTTPException(403)

    app = FastAPI()
    router = (
        crud_router(Dish, exclude=["read"])
        if way == "excluded"
        else crud_router(Dish, guards={"read": [Depends(refuse)]})
    )
    app.include_router(router, prefix="/dishes")
    client = client_of(app)
    address = (await client.post("/dishes", json=json_of())).headers["location"]
    stale = await client.patch(address, json={"rating": 1}, headers={"if-match": '"1-0"'})
    assert (problem(stale)[0], "current" in stale.json()) == (412, False)


@on_one_backend
async def test_the_lifespan_connects_and_applies(backend: str, client_of: Client, monkeypatch: Any) -> None:
    class Stored(Dish, database="stored"):
        pass

    app = FastAPI(lifespan=lifespan(Stored, url="memory:", freeze=True))
    app.include_router(crud_router(Stored), prefix="/dishes")
    client = client_of(app)
    async with app.router.lifespan_context(app):
        assert (await client.post("/dishes", json=json_of())).status_code == 201
    assert app.state.couch.session.is_closed
