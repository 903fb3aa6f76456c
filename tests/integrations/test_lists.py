"""Lists of documents: filters, order and pages by query parameters."""

from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import AsyncClient

from couchmodel import ConfigurationError
from couchmodel.integrations.fastapi import crud_router
from tests.integrations.models import Dish
from tests.integrations.test_documents import on_one_backend, problem

DISHES = [
    {"title": "Apple pie", "rating": 5, "tags": ["sweet", "vegan"], "kind": "sweet", "author": {"name": "Ada"}},
    {"title": "Apple tart", "rating": 3, "tags": ["sweet"], "created": "2024-05-01T12:00:00Z"},
    {"title": "Scone", "rating": 4, "note": "warm"},
    {"title": "Soup", "rating": 1, "tags": ["vegan"], "kind": "salty", "created": "2025-05-01T12:00:00+02:00"},
]
EVERYTHING = ["title", "rating", "tags", "note", "kind", "author.name", "created"]


@pytest.fixture
async def client(api: Callable[..., Any]) -> AsyncClient:
    """The client of an application with some dishes."""
    client: AsyncClient = await api(filters=EVERYTHING)
    for dish in DISHES:
        response = await client.post("/dishes", json=dish)
        assert response.status_code == 201, response.text
    return client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"Apple pie", "Apple tart", "Scone", "Soup"}),
        ("rating=4", {"Scone"}),
        ("rating__ne=4", {"Apple pie", "Apple tart", "Soup"}),
        ("rating__gte=4", {"Apple pie", "Scone"}),
        ("rating__gt=1&rating__lt=5", {"Apple tart", "Scone"}),
        ("rating__lte=3", {"Apple tart", "Soup"}),
        ("rating__in=1&rating__in=5", {"Apple pie", "Soup"}),
        ("title__startswith=Apple", {"Apple pie", "Apple tart"}),
        ("title__contains=p", {"Apple pie", "Apple tart", "Soup"}),
        ("title__contains=.*", set()),
        ("tags__contains=vegan", {"Apple pie", "Soup"}),
        ("tags__contains=vegan&tags__contains=sweet", {"Apple pie"}),
        ("kind=salty", {"Soup"}),
        ("note__isnull=true", {"Apple pie", "Apple tart", "Soup"}),
        ("note__isnull=false", {"Scone"}),
        ("author.name=Ada", {"Apple pie"}),
        ("created__gte=2025-01-01T00:00:00Z", {"Soup"}),
        ("created=2025-05-01T10:00:00Z", {"Soup"}),
        ("title__startswith=Apple&rating__gte=4", {"Apple pie"}),
    ],
)
async def test_a_list_is_narrowed(client: AsyncClient, query: str, expected: set[str]) -> None:
    response = await client.get(f"/dishes?{query}")
    assert response.status_code == 200, response.text
    assert {each["title"] for each in response.json()["items"]} == expected


async def test_pages_have_an_order(client: AsyncClient) -> None:
    titles: list[str] = []
    query: dict[str, Any] = {"rating__gte": 2, "sort": "-rating", "size": 2}
    page = (await client.get("/dishes", params=query)).json()
    while page["next"]:
        titles += [each["title"] for each in page["items"]]
        page = (await client.get("/dishes", params={**query, "after": page["next"]})).json()
    assert [*titles, *(each["title"] for each in page["items"])] == ["Apple pie", "Scone", "Apple tart"]


@on_one_backend
@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("colour=red", ["colour"]),
        ("rating__near=3", ["rating__near"]),
        ("rating=many", ["rating"]),
        ("rating__in=1&rating__in=x", ["rating__in"]),
        ("kind=bitter", ["kind"]),
        ("created=yesterday", ["created"]),
        ("secret=s", ["secret"]),
        ("_id=x", ["_id"]),
        ("sort=note", ["sort"]),
        ("sort=_id", ["sort"]),
        ("size=0", ["size"]),
        ("size=1000000", ["size"]),
        ("size=many", ["size"]),
        (f"size={'9' * 5000}", ["size"]),
        ("size=-1&colour=red", ["size", "colour"]),
    ],
)
async def test_unknown_parameters_and_values_are_refused(client: AsyncClient, query: str, wrong: list[str]) -> None:
    response = await client.get(f"/dishes?{query}")
    assert problem(response)[0] == 422
    assert [each["loc"][1] for each in response.json()["errors"]] == wrong


@pytest.mark.parametrize("tamper", [lambda token: "x", lambda token: token[:-4] + "AAAA", lambda token: "é"])
async def test_a_token_that_was_tampered_with_is_refused(client: AsyncClient, tamper: Callable[[str], str]) -> None:
    token = (await client.get("/dishes?size=1")).json()["next"]
    assert problem(await client.get("/dishes", params={"size": 1, "after": tamper(token)}))[0] == 400
    other = await client.get("/dishes", params={"size": 1, "after": token, "rating": 3})
    assert problem(other)[0] == 400


async def test_a_list_shows_no_more_than_a_document_does(client: AsyncClient) -> None:
    for shown in (await client.get("/dishes")).json()["items"]:
        assert shown == (await client.get(f"/dishes/{shown['id']}")).json()


def test_by_default_a_list_goes_by_the_fields_that_an_index_leads_with() -> None:
    router = crud_router(Dish)
    listed = next(route for route in router.routes if getattr(route, "name", "") == "list_Dish")
    names = {each["name"] for each in listed.openapi_extra["parameters"]}  # type: ignore[attr-defined]
    assert {"rating__gte", "title__startswith", "tags__contains", "sort", "size", "after"} <= names
    assert not {name for name in names if name.startswith(("note", "secret"))}


@pytest.mark.parametrize("name", ["ratng", "secret", "author.email", "author.age", "rating.x", "_id"])
def test_a_list_by_what_clients_may_not_read_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        crud_router(Dish, filters=[name])
    with pytest.raises(ConfigurationError):
        crud_router(Dish, sorts=[name])
