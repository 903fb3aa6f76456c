"""What a server makes of multipart bodies, and which it writes, to the byte."""

import gzip
from typing import Any

import pytest

from couchmodel import BadRequestError, ConflictError, ResponseError
from couchmodel._wire.messages import Request, Response, decode, encode
from couchmodel._wire.multipart import MultipartReader, PartEnd, PartHead
from couchmodel.engine import Database
from couchmodel.errors import UnsupportedMediaTypeError

JSON = b"Content-Type: application/json\r\n\r\n"
PACKED = gzip.compress(b"butter" * 100, mtime=0)


def follows(length: object, content_type: str = "image/png", **more: object) -> dict[str, object]:
    return {"follows": True, "content_type": content_type, "length": length, **more}


def related(document: object, *contents: bytes, head: bytes = JSON) -> bytes:
    parts = [head + (document if isinstance(document, bytes) else encode(document))]
    parts += [b"Content-Length: %d\r\n\r\n%b" % (len(content), content) for content in contents]
    return b"".join(b"--abc\r\n%b\r\n" % part for part in parts) + b"--abc--"


async def put(
    database: Database, body: bytes, id: str = "pie", kind: str = 'multipart/related; boundary="abc"', **query: str
) -> Any:
    headers = {"content-type": kind, "accept": "application/json"}
    return await database.session.json(Request("PUT", (*database.path, id), query, headers, body))


async def ask(
    database: Database, accept: str, query: dict[str, str], path: tuple[str, ...] = ("pie",), body: object = None
) -> Response:
    headers = {"accept": accept, "content-type": "application/json"}
    method = "GET" if body is None else "POST"
    request = Request(method, (*database.path, *path), query, headers, None if body is None else encode(body))
    return await database.session.send(request)


def parts(answer: Response) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a body, the bodies in it taken apart too."""
    return taken_apart(answer.headers["content-type"], answer.body)


def taken_apart(kind: str, body: bytes) -> list[tuple[dict[str, str], bytes]]:
    reader = MultipartReader(kind)
    found: list[tuple[dict[str, str], bytes]] = []
    for event in reader.feed(body):
        if isinstance(event, PartHead):
            found.append((dict(event.headers), b""))
        elif not isinstance(event, PartEnd):
            found[-1] = (found[-1][0], found[-1][1] + event)
    reader.finish()
    flat: list[tuple[dict[str, str], bytes]] = []
    for headers, content in found:
        flat.append((headers, content))
        if headers.get("content-type", "").startswith("multipart/"):
            flat[-1:] = taken_apart(headers["content-type"], content)
    return flat


async def test_contents_are_told_apart_by_their_order(database: Database) -> None:
    stubs = {"b": follows(1), "a": follows(2), "inline": {"data": "Y2M="}}
    await put(database, related({"n": 1, "_attachments": stubs}, b"B", b"AA"))
    pie = await database.get("pie")
    assert [await pie.attachment(name).fetch() for name in ("a", "b", "inline")] == [b"AA", b"B", b"cc"]


@pytest.mark.parametrize(
    ("document", "contents", "reason"),
    [
        ({"_attachments": {"a": follows(3)}}, [b"four"], "attachment longer than expected"),
        ({"_attachments": {"a": follows(3)}}, [b"t"], "attachment shorter than expected"),
        ({"_attachments": {"a": follows(3)}}, [], "attachment shorter than expected"),
        ({"_attachments": {"a": follows(3), "b": follows(3)}}, [b"one"], "attachment shorter than expected"),
        ({"_attachments": {"_a": follows(3)}}, [b"one"], "Attachment name '_a' starts with prohibited character '_'"),
        (b'{"a":', [], "invalid UTF-8 JSON"),
        (b"[]", [], "Document must be a JSON object"),
    ],
)
async def test_what_is_not_as_announced_is_refused_and_nothing_is_stored(
    database: Database, document: object, contents: list[bytes], reason: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        await put(database, related(document, *contents))
    assert caught.value.reason == reason
    assert [id async for id in database.akeys()] == []


@pytest.mark.parametrize(
    "stub",
    [
        follows(None),
        follows("3"),
        follows(3, digest="md5-AAAAAAAAAAAAAAAAAAAAAA=="),
        follows(3, "text/plain", digest="md5-AAAAAAAAAAAAAAAAAAAAAA=="),
        follows(3, encoding="zork"),
    ],
)
async def test_a_content_that_is_announced_wrongly_is_an_error(database: Database, stub: dict[str, object]) -> None:
    with pytest.raises(ResponseError):
        await put(database, related({"_attachments": {"a": stub}}, b"one"))
    assert [id async for id in database.akeys()] == []


@pytest.mark.parametrize("head", [b"Content-Type: text/plain\r\n\r\n", b"\r\n"])
async def test_the_document_has_to_be_json(database: Database, head: bytes) -> None:
    with pytest.raises(UnsupportedMediaTypeError):
        await put(database, related({}, head=head))


@pytest.mark.parametrize("kind", ["multipart/related", "multipart/mixed; boundary=abc"])
async def test_another_media_type_is_read_as_json(database: Database, kind: str) -> None:
    with pytest.raises(BadRequestError, match="invalid UTF-8 JSON"):
        await put(database, related({}), kind=kind)


@pytest.mark.parametrize(("body", "kind"), [(b"xxx", 'multipart/related; boundary="abc"'), (b"", "multipart/related;")])
async def test_a_body_without_its_boundary_is_an_error(database: Database, body: bytes, kind: str) -> None:
    with pytest.raises(ResponseError):
        await put(database, body, kind=kind)


async def test_what_comes_packed_is_stored_packed(database: Database) -> None:
    stub = follows(600, "text/plain", encoding="gzip", encoded_length=len(PACKED))
    await put(database, related({"_attachments": {"a": stub}}, PACKED))
    pie = await database.get("pie")
    assert pie["_attachments"]["a"]["length"] == 600
    assert await pie.attachment("a").fetch() == b"butter" * 100


async def test_a_revision_is_replicated_with_its_attachments(database: Database) -> None:
    revs = {"start": 2, "ids": ["b" * 32, "a" * 32]}
    document = {"_revisions": revs, "_attachments": {"a": follows(3, revpos=1)}}
    assert (await put(database, related(document, b"one"), new_edits="false"))["rev"] == f"2-{'b' * 32}"
    pie = await database.get("pie")
    assert pie["_attachments"]["a"]["revpos"] == 1
    with pytest.raises(ConflictError):
        await put(database, related({"_attachments": {"a": follows(3)}}, b"one"))


@pytest.mark.parametrize("document", [{"_id": "x", "_attachments": {"a": follows(3)}}])
async def test_nothing_follows_a_document_in_json(database: Database, document: dict[str, Any]) -> None:
    with pytest.raises(ResponseError):
        await database.session.json(Request("PUT", (*database.path, "x"), body=encode(document)))
    with pytest.raises(ResponseError):
        await database.session.json(Request("POST", (*database.path, "_bulk_docs"), body=encode({"docs": [document]})))


async def two_revisions(database: Database) -> tuple[str, str]:
    """A document whose second revision has an attachment more."""
    first = await put(database, related({"n": 1, "_attachments": {"a": follows(6, "text/plain")}}, b"butter"))
    stubs = {"a": {"stub": True}, "b": follows(3)}
    second = await put(database, related({"n": 2, "_rev": first["rev"], "_attachments": stubs}, b"one"))
    return first["rev"], second["rev"]


@pytest.mark.parametrize("accept", ["multipart/related", "*/*", "application/json, multipart/*;q=0.5"])
async def test_attachments_come_behind_the_document_to_whoever_takes_that(database: Database, accept: str) -> None:
    await two_revisions(database)
    answer = await ask(database, accept, {"attachments": "true"})
    document, (packed, a), (plain, b) = parts(answer)
    stubs = decode(document[1])["_attachments"]
    assert (stubs["a"]["follows"], stubs["a"]["encoding"], stubs["a"]["length"]) == (True, "gzip", 6)
    assert (packed["content-encoding"], packed["content-length"]) == ("gzip", str(len(a)))
    assert (gzip.decompress(a), b) == (b"butter", b"one")
    assert (plain["content-type"], plain["content-disposition"]) == ("image/png", 'attachment; filename="b"')
    assert answer.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize("accept", ["application/json", "multipart/related;q=0, application/json"])
async def test_attachments_come_in_the_document_to_everybody_else(database: Database, accept: str) -> None:
    await two_revisions(database)
    answer = await ask(database, accept, {"attachments": "true"})
    assert answer.json()["_attachments"]["b"]["data"] == "b25l"


async def test_only_attachments_that_a_revision_does_not_have_are_sent(database: Database) -> None:
    first, second = await two_revisions(database)
    answer = await ask(database, "multipart/related", {"atts_since": encode([first, "9-x"]).decode()})
    assert [content for _, content in parts(answer)][1:] == [b"one"]
    for since, sent in ([first], {"b"}), ([second], set[str]()), (["1-x"], {"a", "b"}), ([], {"a", "b"}):
        answer = await ask(database, "application/json", {"atts_since": encode(since).decode()})
        stubs = answer.json()["_attachments"]
        assert {name for name, stub in stubs.items() if "data" in stub} == sent


@pytest.mark.parametrize("since", ["x", "{}", '["x"]', "[1]"])
async def test_atts_since_lists_revisions(database: Database, since: str) -> None:
    await database.session.json(Request("PUT", (*database.path, "pie"), body=b"{}"))
    with pytest.raises(BadRequestError):
        await ask(database, "application/json", {"atts_since": since})


async def test_revisions_come_as_parts(database: Database) -> None:
    first, second = await two_revisions(database)
    query = {"open_revs": encode([second, "9-x", first]).decode(), "revs": "true"}
    answer = await ask(database, "multipart/mixed", query)
    found = parts(answer)
    assert answer.headers["content-type"].startswith("multipart/mixed;")
    kinds = [headers["content-type"] for headers, _ in found]
    assert kinds.count('application/json; error="true"') == 1
    assert decode(found[-1][1]) == {"missing": "9-x"}
    documents = [decode(content) for headers, content in found if headers["content-type"] == "application/json"]
    assert {document["n"]: len(document["_revisions"]["ids"]) for document in documents} == {1: 1, 2: 2}
    assert [content for headers, content in found if headers["content-type"] == "image/png"] == [b"one"]


async def test_no_revision_is_the_document_itself(database: Database) -> None:
    await database.session.json(Request("PUT", (*database.path, "pie"), body=b'{"n": 1}'))
    assert (await ask(database, "multipart/mixed", {"open_revs": "[]"})).json()["n"] == 1


@pytest.mark.parametrize("kind", ["multipart/mixed", "multipart/related"])
async def test_many_documents_come_as_parts(database: Database, kind: str) -> None:
    _, second = await two_revisions(database)
    await database.session.json(Request("PUT", (*database.path, "plain"), body=b"{}"))
    wanted = [{"id": "pie"}, {"id": "plain"}, {"id": "nope"}, {"id": "pie", "rev": "9-x"}, {"id": "_x"}, {}]
    answer = await ask(database, kind, {}, ("_bulk_get",), {"docs": wanted})
    found = parts(answer)
    assert answer.headers["content-type"].startswith(f"{kind};")
    assert [gzip.decompress(found[1][1]), found[2][1]] == [b"butter", b"one"]
    assert decode(found[0][1])["_rev"] == second
    assert decode(found[3][1])["_id"] == "plain"
    errors = [decode(content) for headers, content in found if 'error="true"' in headers["content-type"]]
    assert [error["error"] for error in errors] == ["not_found", "not_found", "illegal_docid", "bad_request"]


@pytest.mark.parametrize("latest", ["false", "true"])
async def test_leaves_come_in_the_order_of_the_tree(database: Database, latest: str) -> None:
    for letters in ["c", "ba", "da", "edca", "f", "0"]:
        ids = [letter * 32 for letter in letters]
        document = {"_id": "pie", "_revisions": {"start": len(ids), "ids": ids}}
        await database.session.json(
            Request("POST", (*database.path, "_bulk_docs"), body=encode({"new_edits": False, "docs": [document]}))
        )
    wanted = [{"id": "pie"}, {"id": "pie", "rev": f"1-{'a' * 32}"}]
    answer = await ask(database, "application/json", {"latest": latest}, ("_bulk_get",), {"docs": wanted})
    every, under = (
        [document.get("ok", {}).get("_rev", "")[:3] for document in row["docs"]] for row in answer.json()["results"]
    )
    assert every == ["1-f", "1-c", "2-b", "4-e", "2-d", "1-0"]
    assert under == (["2-b", "4-e", "2-d"] if latest == "true" else [""])


async def test_the_last_boundary_is_a_line(database: Database) -> None:
    answer = await ask(
        database, "multipart/mixed", {}, ("_bulk_get",), {"docs": [{"id": "a"}, {"id": "b", "rev": "1-x"}]}
    )
    assert answer.body.endswith(b"--\r\n")
    assert [decode(content).get("id") for _, content in parts(answer)] == ["a", None]


async def test_many_documents_come_with_the_attachments_that_are_new(database: Database) -> None:
    first, _ = await two_revisions(database)
    wanted = [{"id": "pie", "atts_since": [first]}, {"id": "pie", "atts_since": []}, {"id": "pie", "atts_since": 3}]
    answer = await ask(database, "application/json", {}, ("_bulk_get",), {"docs": wanted})
    new, none, wrong = (row["docs"][0] for row in answer.json()["results"])
    assert ["data" in stub for stub in new["ok"]["_attachments"].values()] == [False, True]
    assert ["data" in stub for stub in none["ok"]["_attachments"].values()] == [False, False]
    assert wrong["error"] == {
        "id": "pie",
        "rev": 3,
        "error": "bad_request",
        "reason": "att_since value must be array of revs.",
    }


@pytest.mark.parametrize("by", ["open_revs", "_bulk_get"])
async def test_an_attachment_without_content_does_not_follow_among_revisions(
    database: Database, backend: str, by: str
) -> None:
    if backend == "live":
        pytest.skip("CouchDB sends it behind the document, and waits for ever for what it sends")
    empty = {"content_type": "image/png", "data": ""}
    await put(database, encode({"_attachments": {"a": empty}}), "all", kind="application/json")
    full = {"content_type": "image/png", "data": "aGk="}
    await put(database, encode({"_attachments": {"a": empty, "b": full}}), "some", kind="application/json")
    for id in ("all", "some"):
        if by == "open_revs":
            answer = await ask(database, "multipart/mixed", {"open_revs": "all"}, (id,))
        else:
            answer = await ask(database, "multipart/mixed", {}, ("_bulk_get",), {"docs": [{"id": id}]})
        await answer.collect()
        texts = [content for headers, content in parts(answer) if headers.get("content-type") == "application/json"]
        stubs = decode(texts[0])["_attachments"]
        assert stubs["a"] == {
            "content_type": "image/png",
            "revpos": 1,
            "digest": "md5-1B2M2Y8AsgTpgAmY7PhCfg==",
            "data": "",
        }
        assert stubs.get("b", {}).get("follows") == (True if id == "some" else None)
        contents = [content for headers, content in parts(answer) if headers.get("content-type") == "image/png"]
        assert contents == ([b"hi"] if id == "some" else [])
