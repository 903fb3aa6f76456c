"""Attachments over the router of a model: up with limits, down with ranges."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from httpx2 import AsyncClient

from couchmodel import Attachment, Attachments, CouchModel, attachment
from tests.integrations.models import Dish, json_of
from tests.integrations.test_documents import on_one_backend, problem

PNG = b"\x89PNG" + bytes(range(200))


@pytest.fixture
async def photo(client: AsyncClient) -> str:
    """The address of a photo that is stored."""
    created = await client.post("/dishes", json=json_of())
    address = f"{created.headers['location']}/photo"
    stored = await client.put(address, content=PNG, headers={"content-type": "image/png"})
    assert stored.status_code == 201
    return address


async def test_what_is_sent_is_read(client: AsyncClient, photo: str) -> None:
    response = await client.get(photo)
    assert (response.status_code, response.content) == (200, PNG)
    assert (response.headers["content-type"], response.headers["content-length"]) == ("image/png", str(len(PNG)))
    assert response.headers["x-content-type-options"] == "nosniff"
    shown = (await client.get(photo.removesuffix("/photo"))).json()["photo"]
    assert (shown["content_type"], shown["length"], shown["url"]) == ("image/png", len(PNG), photo)


async def test_a_second_upload_replaces_the_first(client: AsyncClient, photo: str) -> None:
    again = await client.put(photo, content=b"gif", headers={"content-type": "image/gif"})
    assert again.status_code == 204
    assert again.headers["etag"] == (await client.get(photo.removesuffix("/photo"))).headers["etag"]
    assert (await client.get(photo)).content == b"gif"


@pytest.mark.parametrize(
    ("header", "expected", "stated"),
    [
        ("bytes=0-3", PNG[:4], "bytes 0-3/204"),
        ("bytes=10-19", PNG[10:20], "bytes 10-19/204"),
        ("bytes=200-", PNG[200:], "bytes 200-203/204"),
        ("bytes=-5", PNG[-5:], "bytes 199-203/204"),
        ("bytes=-500", PNG, "bytes 0-203/204"),
        ("bytes=100-9999", PNG[100:], "bytes 100-203/204"),
    ],
)
async def test_a_range_is_sent(client: AsyncClient, photo: str, header: str, expected: bytes, stated: str) -> None:
    part = await client.get(photo, headers={"range": header})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, expected, stated)
    assert part.headers["content-length"] == str(len(expected))


@on_one_backend
@pytest.mark.parametrize(
    "header", ["bytes=9-3", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "", "bytes=-", f"bytes=0-{'9' * 5000}"]
)
async def test_what_is_no_range_is_ignored(client: AsyncClient, photo: str, header: str) -> None:
    whole = await client.get(photo, headers={"range": header})
    assert (whole.status_code, whole.content) == (200, PNG)


@on_one_backend
@pytest.mark.parametrize("header", ["bytes=204-", "bytes=9999-10000", "bytes=-0"])
async def test_a_range_outside_is_refused(client: AsyncClient, photo: str, header: str) -> None:
    response = await client.get(photo, headers={"range": header})
    assert problem(response)[0] == 416
    assert response.headers["content-range"] == "bytes */204"


async def test_a_client_that_has_the_photo_gets_304(client: AsyncClient, photo: str) -> None:
    tag = (await client.get(photo)).headers["etag"]
    assert (await client.get(photo, headers={"if-none-match": tag})).status_code == 304
    part = await client.get(photo, headers={"range": "bytes=0-3", "if-range": tag})
    assert part.status_code == 206
    other = await client.get(photo, headers={"range": "bytes=0-3", "if-range": '"other"'})
    assert (other.status_code, other.content) == (200, PNG)


async def test_a_missing_photo_is_a_problem(client: AsyncClient) -> None:
    created = await client.post("/dishes", json=json_of())
    address = f"{created.headers['location']}/photo"
    assert problem(await client.get(address)) == (404, f"'{created.json()['id']}' has no 'photo'.")
    assert problem(await client.delete(address))[0] == 404
    assert problem(await client.get("/dishes/nothing/photo"))[0] == 404
    assert (
        problem(await client.put("/dishes/nothing/photo", content=b"", headers={"content-type": "image/png"}))[0] == 404
    )
    assert problem(await client.get(f"{created.headers['location']}/video"))[0] == 404


@on_one_backend
@pytest.mark.parametrize("kind", ["text/plain", "image", "imageX/png", "image/png\x80", "", "image/png, text/html"])
async def test_a_type_that_the_field_does_not_allow_is_refused(client: AsyncClient, photo: str, kind: str) -> None:
    response = await client.put(photo, content=b"x", headers=[(b"content-type", kind.encode("latin-1"))])
    assert problem(response)[0] == 415
    assert (await client.get(photo)).content == PNG


async def test_an_upload_without_a_type_is_refused(client: AsyncClient, photo: str) -> None:
    assert problem(await client.put(photo, content=b"x"))[0] == 415


@pytest.mark.parametrize("has_length", [True, False])
async def test_an_upload_that_is_too_large_is_refused(client: AsyncClient, photo: str, has_length: bool) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 100
            yield b"x" * 100

    headers = {"content-type": "image/png", **({"content-length": "100000"} if has_length else {})}
    response = await client.put(photo, content=pieces(), headers=headers)
    assert problem(response)[0] == 413
    assert (await client.get(photo)).content == PNG


async def test_a_photo_can_be_deleted(client: AsyncClient, photo: str) -> None:
    assert (await client.delete(photo)).status_code == 204
    assert problem(await client.get(photo))[0] == 404
    assert (await client.get(photo.removesuffix("/photo"))).json()["photo"] is None


async def test_an_upload_may_name_the_revision(client: AsyncClient, photo: str) -> None:
    headers = {"content-type": "image/png", "if-match": '"1-0"'}
    assert problem(await client.put(photo, content=b"x", headers=headers))[0] == 412
    assert problem(await client.delete(photo, headers=headers))[0] == 412
    tag = (await client.get(photo.removesuffix("/photo"))).headers["etag"]
    assert (await client.put(photo, content=b"x", headers={**headers, "if-match": tag})).status_code == 204


async def test_uploads_at_the_same_time_do_not_overwrite_each_other(client: AsyncClient, photo: str) -> None:
    headers = {"content-type": "image/png"}
    responses = await asyncio.gather(*(client.put(photo, content=b"%d" % n * 9, headers=headers) for n in range(4)))
    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {204, 409}
    assert 204 in statuses


async def test_an_empty_photo_is_a_photo(client: AsyncClient, photo: str) -> None:
    await client.put(photo, content=b"", headers={"content-type": "image/png"})
    response = await client.get(photo)
    assert (response.status_code, response.content) == (200, b"")
    stored: Any = await Dish.get(photo.split("/")[2])
    assert stored.photo.length == 0


class Album(CouchModel):
    title: str = ""
    pages: Attachments = attachment(prefix="page/", content_types=["image/*"])
    cover: Attachment = attachment(name="the cover", min_size=2)


async def test_a_field_may_have_several(api: Callable[..., Any]) -> None:
    client = await api(Album)
    address = (await client.post("/dishes", json={})).headers["location"]
    png = {"content-type": "image/png"}
    for name in ("1", "a%20b"):
        assert (await client.put(f"{address}/pages/{name}", content=PNG, headers=png)).status_code == 201
    shown = (await client.get(address)).json()["pages"]
    assert {name: each["url"] for name, each in shown.items()} == {
        "1": f"{address}/pages/1",
        "a b": f"{address}/pages/a%20b",
    }
    assert (await client.get(shown["a b"]["url"], headers={"range": "bytes=0-3"})).content == PNG[:4]
    assert (await client.delete(shown["a b"]["url"])).status_code == 204
    assert (await client.get(address)).json()["pages"].keys() == {"1"}
    for name in ("2", "_x", "%2E%2E"):
        assert problem(await client.get(f"{address}/pages/{name}"))[0] == 404


async def test_an_upload_that_is_too_small_is_refused(api: Callable[..., Any]) -> None:
    client = await api(Album)
    address = (await client.post("/dishes", json={})).headers["location"]
    small = await client.put(f"{address}/cover", content=b"x", headers={"content-type": "image/png"})
    assert problem(small)[0] == 422
    assert (await client.get(address)).json()["cover"] is None


@on_one_backend
async def test_a_packed_upload_is_stored_unpacked(client: AsyncClient, photo: str) -> None:
    headers = {"content-type": "image/png", "content-encoding": "gzip"}
    stored = await client.put(photo, content=gzip.compress(PNG * 2), headers=headers)
    assert stored.status_code == 204
    assert (await client.get(photo)).content == PNG * 2


@on_one_backend
async def test_a_packed_document_is_unpacked(client: AsyncClient) -> None:
    headers = {"content-type": "application/merge-patch+json", "content-encoding": "gzip"}
    created = await client.post("/dishes", json=json_of())
    address = created.headers["location"]
    changed = await client.patch(address, content=gzip.compress(b'{"title": "Packed"}'), headers=headers)
    assert (changed.status_code, changed.json()["title"]) == (200, "Packed")


@on_one_backend
@pytest.mark.parametrize("body", [b"plain", gzip.compress(PNG)[:-9]])
async def test_a_packed_upload_that_is_broken_stores_nothing(client: AsyncClient, photo: str, body: bytes) -> None:
    headers = {"content-type": "image/png", "content-encoding": "gzip"}
    assert problem(await client.put(photo, content=body, headers=headers))[0] == 400
    assert (await client.get(photo)).content == PNG


@on_one_backend
async def test_a_packed_upload_is_limited_while_it_unpacks(client: AsyncClient, photo: str) -> None:
    headers = {"content-type": "image/png", "content-encoding": "gzip"}
    bomb = gzip.compress(bytes(20_000_000))
    assert problem(await client.put(photo, content=bomb, headers=headers))[0] == 413
    assert (await client.get(photo)).content == PNG


@on_one_backend
async def test_an_upload_of_another_encoding_is_refused(client: AsyncClient, photo: str) -> None:
    refused = await client.put(photo, content=PNG, headers={"content-type": "image/png", "content-encoding": "sdch"})
    assert (problem(refused)[0], refused.headers["accept-encoding"]) == (415, "gzip")
    assert (await client.get(photo)).content == PNG


@on_one_backend
@pytest.mark.parametrize(
    ("digest", "status"), [("oO8JFC3QajdHgg3yhb7agg==", 204), ("1B2M2Y8AsgTpgAmY7PhCfg==", 400), ("c2hvcnQ=", 400)]
)
async def test_an_upload_is_compared_with_its_content_md5(
    client: AsyncClient, photo: str, digest: str, status: int
) -> None:
    headers = {"content-type": "image/png", "content-md5": digest}
    assert (await client.put(photo, content=PNG * 3, headers=headers)).status_code == status
    assert (await client.get(photo)).content == PNG * (3 if status == 204 else 1)
