"""The example for aiohttp.web: what it answers, also to bad input."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from examples.aiohttp_app import make_app

PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TestClient[Any, Any]]:
    monkeypatch.setenv("COUCHMODEL_URL", "memory:")
    async with TestClient(TestServer(make_app())) as client:
        yield client


async def make_pie(client: TestClient[Any, Any]) -> str:
    async with client.post("/recipes", json={"title": "Apple pie", "rating": 4}) as made:
        assert made.status == 201
        return made.headers["location"]


async def test_a_recipe_is_created_listed_praised_and_deleted(client: TestClient[Any, Any]) -> None:
    address = await make_pie(client)
    found = await (await client.get("/recipes?rating__gte=4&sort=-rating")).json()
    assert [each["title"] for each in found["items"]] == ["Apple pie"]
    praised = await client.post(f"{address}/praise")
    assert (await praised.json())["rating"] == 5
    assert (await client.delete(address)).status == 204
    assert (await client.get(address)).status == 404


async def test_a_photo_goes_up_and_comes_back(client: TestClient[Any, Any]) -> None:
    address = await make_pie(client)
    stored = await client.put(f"{address}/photo", data=PNG, headers={"content-type": "image/png"})
    assert stored.status == 201
    sent = await client.get(f"{address}/photo")
    assert (sent.content_type, await sent.read()) == ("image/png", PNG)


async def test_changes_arrive_as_they_happen(client: TestClient[Any, Any]) -> None:
    async with client.get("/recipes/_changes") as feed:
        await make_pie(client)
        async for line in feed.content:
            if b"Apple pie" in line:
                break


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/recipes", {"json": {"title": "", "rating": 9}}, 422),
        ("POST", "/recipes", {"data": b"{no json", "headers": {"content-type": "application/json"}}, 400),
        ("GET", "/recipes?rating__gte=many", {}, 422),
        ("GET", "/recipes/missing", {}, 404),
        ("POST", "/recipes/missing/praise", {}, 404),
        ("PATCH", "PIE", {"json": {"rating": 9}}, 422),
        ("PUT", "PIE/photo", {"data": b"text", "headers": {"content-type": "text/plain"}}, 415),
    ],
)
async def test_bad_input_is_answered_with_a_problem(
    method: str, path: str, sent: dict[str, Any], status: int, client: TestClient[Any, Any]
) -> None:
    address = await make_pie(client)
    answer: ClientResponse = await client.request(method, path.replace("PIE", address), **sent)
    assert answer.status == status
    assert (answer.content_type, (await answer.json())["status"]) == ("application/problem+json", status)


async def test_a_recipe_cannot_be_praised_beyond_five_stars(client: TestClient[Any, Any]) -> None:
    address = await make_pie(client)
    for status in (200, 422):
        assert (await client.post(f"{address}/praise")).status == status
    assert (await (await client.get(address)).json())["rating"] == 5
