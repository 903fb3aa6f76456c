"""JSON that few programs write, as CouchDB reads it and answers it."""

import json
from collections.abc import AsyncIterable, Awaitable, Callable

import pytest

from couchmodel import BadRequestError, DocumentError
from couchmodel._wire.messages import Request
from couchmodel.engine import Database

JSON = {"accept": "application/json", "content-type": "application/json"}


async def ask(database: Database, method: str, *path: str, body: bytes | None = None) -> bytes:
    return (await database.session.send(Request(method, (*database.path, *path), headers=JSON, body=body))).body


@pytest.mark.parametrize(
    ("sent", "answered", "rev"),
    [
        ('{"a":1,"b":2,"a":3}', '"b":2,"a":3', "1-cf8195ee4268460f49235c8e98d42c6f"),
        ('{"a":{"x":"\\"","y":2,"x":3}}', '"a":{"y":2,"x":3}', "1-bfdfa791990e8c4d93cd81aa079f75e2"),
        ('{"a":"\\u0022","b":1,"\\u0061":2}', '"b":1,"a":2', "1-afc27c384a7b497e8b717857527a0dc7"),
        ('{"a":[-0.0,-0,0.0]}', '"a":[0.0,0,0.0]', "1-354ebe77f56ecb000af111596bc86083"),
        (
            '{"a":[1e16,-1.5E+20,1e21,915944811730981111111.5]}',
            '"a":[10000000000000000.0,-150000000000000000000.0,1e+21,915944811730981100000.0]',
            "1-abdd1155f68459268ef46ec13f41fba5",
        ),
        ('{"a":[1e-6,1.25e-6,1e-7]}', '"a":[0.000001,0.00000125,1e-7]', "1-74765f323126c1cbaafb7bb2220dff0c"),
        ('{"a":"-0.0 1e+16","b":-0.0}', '"a":"-0.0 1e+16","b":0.0', "1-2ca26966067d3e649196a38940d1271f"),
        (
            '{"a":[100.0,1E+2,123456789012345678901234567890]}',
            '"a":[100.0,100.0,123456789012345678901234567890]',
            "1-148b8ef2e69f00af717ee6545150c1c6",
        ),
    ],
)
async def test_a_document_is_answered_in_couchdbs_spelling(
    database: Database, sent: str, answered: str, rev: str
) -> None:
    await ask(database, "PUT", "a", body=sent.encode())
    text = (await ask(database, "GET", "a")).decode()
    assert text == f'{{"_id":"a","_rev":"{rev}",{answered}}}\n'


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ('{"a":1,"b":"PAD","a":{"c":1,"d":"PAD","c":[]}}', '{"b":"PAD","a":{"d":"PAD","c":[]}}'),
        ('{"n":[1,[%s[1e16,-0.0]]]}' % ('"PAD",' * 2), '{"n":[1,["PAD","PAD",[10000000000000000.0,0.0]]]}'),
        (' {"a" : [ %s {} ] } ' % ("[ ], " * 100_000), '{"a":[%s{}]}' % ("[]," * 100_000)),
    ],
)
async def test_a_large_document_is_stored_as_a_small_one_is(database: Database, sent: str, stored: str) -> None:
    sent, stored = (text.replace("PAD", "\\n" * 150_000) for text in (sent, stored))
    rev = json.loads(await ask(database, "PUT", "a", body=sent.encode()))["rev"]
    text = (await ask(database, "GET", "a")).decode()
    assert text == f'{{"_id":"a","_rev":"{rev}",{stored[1:-1]}}}\n'


async def test_a_large_document_has_couchdbs_revision(database: Database) -> None:
    body = json.dumps({"bytes": [1] * 65_535, "list": [1] * 65_536, "é": ["é" * 100_000, {"a": [[]] * 20_000}]})
    assert (
        json.loads(await ask(database, "PUT", "a", body=body.encode()))["rev"] == "1-e10d8f850c61855fab7d6901887964f4"
    )


@pytest.mark.parametrize("length", [1, 2_000_000])
async def test_the_last_value_of_a_key_counts_in_every_document_of_a_request(database: Database, length: int) -> None:
    document = '{"_id":"%s","x":{"a":"y"},"b":%d,"x":{"a":1,"a":2}}'
    listed = ",".join(document % (id, number) for number, id in enumerate("abc"))
    text = f'{{"docs":[],"docs":[{listed}],"space":"{"s" * length}"}}'
    rows = json.loads(await ask(database, "POST", "_bulk_docs", body=text.encode()))
    assert len(rows) == 3
    for number, row in enumerate(rows):
        text = (await ask(database, "GET", row["id"])).decode()
        assert text == f'{{"_id":"{row["id"]}","_rev":"{row["rev"]}","b":{number},"x":{{"a":2}}}}\n'


async def test_large_and_small_documents_of_a_request_are_stored_as_if_they_came_alone(database: Database) -> None:
    listed: list[dict[str, object]] = [
        {"_id": "a", "n": -0.0},
        {"_id": "b", "n": [[[]] * 100_000, {"é": "x" * 200_000}]},
        {"_id": "c"},
    ]
    text = json.dumps({"docs": listed, "new_edits": True})
    rows = json.loads(await ask(database, "POST", "_bulk_docs", body=text.encode()))
    for row, document in zip(rows, listed, strict=True):
        body = json.dumps({**document, "_id": f"{row['id']}2"})
        assert json.loads(await ask(database, "PUT", f"{row['id']}2", body=body.encode()))["rev"] == row["rev"]


@pytest.mark.parametrize("length", [1, 400_000])
@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ('{"docs":[{},"PAD",{}]}', "Document must be a JSON object"),
        ('{"docs":[{"a":"PAD"},{"_a":1}]}', "Bad special document member: _a"),
        ('{"docs":[{"_a":["PAD"]},{"_b":1}]}', "Bad special document member: _a"),
        ('{"docs":[{"a":["PAD"]}],"docs":{"a":[]}}', "`docs` parameter must be an array."),
        ('{"docs":"PAD"}', "`docs` parameter must be an array."),
        ('{"a":["PAD"]}', "POST body must include `docs` parameter."),
        ('["PAD"]', "Request body must be a JSON object"),
        ('{"docs":[{},{"a":["PAD"]}', "invalid UTF-8 JSON"),
        ('{"docs":[{},{"a":["PAD"]},]}', "invalid UTF-8 JSON"),
    ],
)
async def test_what_is_wrong_with_a_request_is_said_of_a_large_one_too(
    database: Database, sent: str, reason: str, length: int
) -> None:
    with pytest.raises(BadRequestError) as caught:
        await ask(database, "POST", "_bulk_docs", body=sent.replace("PAD", "x" * length).encode())
    assert caught.value.reason == reason
    assert (await database.info())["doc_count"] == 0


async def test_a_large_document_is_copied(database: Database) -> None:
    body = json.dumps({"a": [[]] * 200_000, "b": [1e16, -1.5]}).encode()
    rev = json.loads(await ask(database, "PUT", "a", body=body))["rev"]
    request = Request("COPY", (*database.path, "a"), headers={**JSON, "destination": "b"})
    assert json.loads((await database.session.send(request)).body)["rev"] == rev


async def test_the_last_value_of_a_key_counts_in_a_query(database: Database) -> None:
    for n in range(3):
        await ask(database, "PUT", f"d{n}", body=b'{"n":%d}' % n)
    text = b'{"selector":{},"fields":["n"],"selector":{"n":{"$gt":0,"$gt":1}}}'
    assert json.loads(await ask(database, "POST", "_find", body=text))["docs"] == [{"n": 2}]


@pytest.mark.parametrize("text", [b'{"a":' * 300 + b"1" + b"}" * 300, b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"])
async def test_json_that_is_nested_too_deeply_is_refused(database: Database, backend: str, text: bytes) -> None:
    if backend == "live":
        pytest.skip("CouchDB takes any depth")
    with pytest.raises(BadRequestError, match="nested too deeply"):
        await ask(database, "PUT", "a", body=text)
    bulk = b'{"docs":[{"_id":"a"},{"_id":"b","n":%b},{"_id":"c"}]}' % text
    with pytest.raises(BadRequestError, match="nested too deeply in the document 'b'"):
        await ask(database, "POST", "_bulk_docs", body=bulk)


@pytest.mark.usefixtures("live")
async def test_a_document_that_is_nested_too_deeply_is_named(database: Database) -> None:
    await ask(database, "PUT", "a", body=b'{"n":' + b"[" * 300 + b"]" * 300 + b"}")
    readers: list[Callable[[], Awaitable[object]]] = [
        lambda: database["a"],
        lambda: all_of(database.docs(["a"])),
        lambda: all_of(database.find({"_id": "a"})),
        lambda: all_of(database.changes(include_docs=True)),
        lambda: all_of(database.changes(include_docs=True, feed="continuous", timeout=100)),
    ]
    for read in readers:
        with pytest.raises(DocumentError, match="nested too deeply in the document 'a'") as caught:
            await read()
        assert caught.value.document_id == "a"


async def all_of(items: AsyncIterable[object]) -> list[object]:
    return [item async for item in items]


@pytest.mark.parametrize("levels", [300, 2000])
async def test_a_document_that_has_no_json_is_named(database: Database, levels: int) -> None:
    nested: list[object] = []
    for _ in range(levels):
        nested = [nested]
    document = await database.create("a", data={"n": nested})
    with pytest.raises(DocumentError, match="the document 'a'"):
        await document.save()
