"""Documents from HTML forms."""

from urllib.parse import urlsplit

import pytest

from couchmodel import BadRequestError
from couchmodel.engine import Database
from couchmodel.errors import ConflictError, ResponseError, UnsupportedMediaTypeError
from couchmodel.types import JSONObject
from tests.engine.requests import ask, call

BOUNDARY = "x-boundary"


def field(name: str, value: str) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(name: str, kind: str, content: bytes) -> bytes:
    said = f'form-data; name="_attachments"; filename="{name}"'
    head = f"--{BOUNDARY}\r\nContent-Disposition: {said}\r\nContent-Type: {kind}\r\n\r\n"
    return head.encode() + content + b"\r\n"


@pytest.fixture
def headers(url: str) -> dict[str, str]:
    """The headers of a form of the server's own page."""
    host = urlsplit(url).netloc.rpartition("@")[2] or "here"
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return {"host": host, "referer": f"http://{host}/page", "content-type": kind}


async def post(database: Database, headers: dict[str, str], *parts: bytes) -> JSONObject:
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    answer = await ask(database, "POST", "pie", body, headers)
    assert answer.headers["etag"] == f'"{answer.json()["rev"]}"'
    found: JSONObject = answer.json()
    return found


async def test_a_form_is_a_document_with_files(database: Database, headers: dict[str, str]) -> None:
    files = [file("a.txt", "text/plain", b"butter"), file("b.bin", "application/octet-stream", b"\0\1")]
    answer = await post(database, headers, field("_doc", '{"x":1}'), *files)
    pie = await call(database, "GET", "pie?attachments=true", headers={"accept": "application/json"})
    assert (answer["rev"], pie["x"]) == ("1-c5e20655c4c346b08fb473dc130082e4", 1)
    assert [stub["data"] for stub in pie["_attachments"].values()] == ["YnV0dGVy", "AAE="]


async def test_files_are_added_to_a_revision(database: Database, headers: dict[str, str]) -> None:
    first = await post(database, headers, field("_doc", '{"x":1}'), file("a", "text/plain", b"butter"))
    more = [file("a", "text/plain", b"flour"), file("b", "text/plain", b"apples")]
    await post(database, headers, field("_rev", str(first["rev"])), *more)
    pie = await call(database, "GET", "pie?attachments=true", headers={"accept": "application/json"})
    assert (pie["x"], pie["_rev"][:2]) == (1, "2-")
    assert {name: stub["revpos"] for name, stub in pie["_attachments"].items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("part", "error", "reason"),
    [
        (field("_doc", "{"), BadRequestError, "invalid UTF-8 JSON"),
        (field("_doc", "[]"), BadRequestError, "Document must be a JSON object"),
        (field("_rev", "x"), BadRequestError, "Invalid rev format"),
        (field("_doc", '{"_rev":"1-a"}'), ConflictError, "Document update conflict."),
        (field("_doc", "{}") + file("_a", "text/plain", b""), BadRequestError, "starts with prohibited character"),
    ],
)
async def test_what_is_no_document_is_refused(
    database: Database, headers: dict[str, str], part: bytes, error: type[ResponseError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        await post(database, headers, part)
    assert await database.info() | {"doc_count": 0} == await database.info()


@pytest.mark.parametrize(
    ("changed", "error", "reason"),
    [
        ({"referer": ""}, BadRequestError, "Referer header must match host"),
        ({"referer": "http://elsewhere.example/"}, BadRequestError, "Referer header must match host"),
        ({"content-type": "application/json"}, UnsupportedMediaTypeError, "Content-Type must be multipart/form-data"),
    ],
)
async def test_a_form_of_another_page_is_refused(
    database: Database, headers: dict[str, str], changed: dict[str, str], error: type[ResponseError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        await post(database, {**headers, **changed}, field("_doc", "{}"))
    del headers["referer"]
    with pytest.raises(BadRequestError, match="Referer header required"):
        await post(database, headers, field("_doc", "{}"))
