"""The example for aiohttp.web: what it answers, also to bad input."""

from collections.abc import AsyncIterator
from io import BytesIO
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
    async with client.post("/recipes", json={"title": "Apple pie", "rating": 5}) as made:
        assert made.status == 201
        return made.headers["location"]


async def test_a_recipe_is_created_read_listed_changed_and_deleted(client: TestClient[Any, Any]) -> None:
    address = await make_pie(client)
    assert (await (await client.get(address)).json())["title"] == "Apple pie"
    assert [each["rating"] for each in (await (await client.get("/recipes?rating=4")).json())["items"]] == [5]
    changed = await client.patch(address, json={"rating": 3})
    assert (await changed.json())["rating"] == 3
    assert (await client.delete(address)).status == 204
    assert (await client.get(address)).status == 404


async def test_a_photo_goes_up_and_comes_back(client: TestClient[Any, Any]) -> None:
    address = await make_pie(client)
    assert (await client.get(f"{address}/photo")).status == 404
    stored = await client.put(f"{address}/photo", data=PNG, headers={"content-type": "image/png"})
    assert stored.status == 204
    sent = await client.get(f"{address}/photo")
    assert (sent.content_type, await sent.read()) == ("image/png", PNG)


async def test_changes_arrive_as_they_happen(client: TestClient[Any, Any]) -> None:
    async with client.get("/changes") as feed:
        await make_pie(client)
        assert (await feed.content.readline()).startswith(b"id: ")
        assert b'"Apple pie"' in await feed.content.readline()


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/recipes", {"json": {"title": "", "rating": 9}}, 422),
        ("POST", "/recipes", {"json": ["no object"]}, 422),
        ("POST", "/recipes", {"data": b"{no json"}, 400),
        ("GET", "/recipes?rating=many", {}, 400),
        ("GET", "/recipes?after=tampered", {}, 400),
        ("GET", "/recipes/_design%2Fx", {}, 400),
        ("PATCH", "PIE", {"json": {"rating": 9}}, 422),
        ("PATCH", "PIE", {"json": {"colour": "red"}}, 422),
        ("PUT", "PIE/photo", {"data": b"text", "headers": {"content-type": "text/plain"}}, 400),
        ("PUT", "PIE/photo", {"data": BytesIO(bytes(5_000_001)), "headers": {"content-type": "image/png"}}, 400),
    ],
)
async def test_bad_input_is_answered_with_words(
    method: str, path: str, sent: dict[str, Any], status: int, client: TestClient[Any, Any]
) -> None:
    address = await make_pie(client)
    answer: ClientResponse = await client.request(method, path.replace("PIE", address), **sent)
    assert answer.status == status
    assert "Traceback" not in await answer.text()
    assert (await (await client.get(address)).json())["rating"] == 5
