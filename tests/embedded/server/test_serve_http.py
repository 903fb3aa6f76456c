"""What a server does as a server of HTTP: pages of other origins, limits, many clients, and its end."""

import asyncio
import base64
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from yarl import URL

from couchmodel._embedded.auth.passwords import admin_line
from couchmodel._embedded.server.http import Server, serve
from couchmodel._embedded.settings import Configuration, Cors
from couchmodel._embedded.storage.store import Store

PAGE = "http://page.example"
FEEDS = 300

Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a server that everybody administers, with a database, and gives a client of it."""
    async with AsyncExitStack() as stack:

        async def started(host: str = "127.0.0.1", **configured: Any) -> tuple[Server, aiohttp.ClientSession]:
            store = Store(None)
            stack.push_async_callback(store.close)
            await store.create_database("db")
            server = await serve(store, host, 0, configuration=Configuration(**configured))
            stack.push_async_callback(server.close)
            connector = aiohttp.TCPConnector(limit=0)
            return server, await stack.enter_async_context(aiohttp.ClientSession(server.url, connector=connector))

        yield started


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = server.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def exchange(server: Server, text: bytes) -> bytes:
    """Send some bytes, and return all that is answered."""
    reader, writer = await connect(server)
    writer.write(text)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


# --- pages of other origins


async def test_a_page_of_an_origin_that_is_let_in(start: Start) -> None:
    _, http = await start(cors=Cors((PAGE,)))
    async with http.get("/db", headers={"Origin": PAGE}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert answer.headers["Access-Control-Expose-Headers"].startswith("content-type, cache-control, accept-ranges")
        assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_refusal_is_told_to_the_page_too(start: Start) -> None:
    _, http = await start(cors=Cors(("*",), credentials=True), require_valid_user=True)
    async with http.get("/db", headers={"Origin": PAGE}) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, PAGE)
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize(
    ("configured", "origin"),
    [({"cors": Cors((PAGE,))}, "http://evil.example"), ({}, PAGE), ({"cors": Cors((PAGE,))}, "")],
)
async def test_another_page_is_told_nothing(start: Start, configured: dict[str, Any], origin: str) -> None:
    _, http = await start(**configured)
    async with http.get("/db", headers={"Origin": origin} if origin else {}) as answer:
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_a_browser_that_asks_beforehand(start: Start) -> None:
    _, http = await start(cors=Cors((PAGE,)), require_valid_user=True)
    wanted = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "Content-Type, X-Couch-Id"}
    async with http.options("/db/a", headers={"Origin": PAGE, **wanted}) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type, X-Couch-Id"
        assert "COPY" in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(
    "wanted",
    [
        {"Access-Control-Request-Method": "PATCH"},
        {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "X-Other"},
        {},
    ],
)
async def test_a_browser_that_asks_for_too_much(start: Start, wanted: dict[str, str]) -> None:
    _, http = await start(cors=Cors((PAGE,)))
    async with http.options("/db/a", headers={"Origin": PAGE, **wanted}) as answer:
        assert answer.status == 405


FORM = {"Content-Type": "text/plain"}
FOREIGN = [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}]
CHANGES = ["/db/_view_cleanup", "/db/_sync_shards", "/db/_design/d/_update/f", "/db/a", "/_session", "/db"]


@pytest.mark.parametrize("target", CHANGES)
@pytest.mark.parametrize("foreign", [*FOREIGN, {"Sec-Fetch-Site": "cross-site"}], ids=str)
@pytest.mark.parametrize("admins", [{}, {"ada": admin_line("sesame", iterations=1)}], ids=["open", "closed"])
async def test_a_form_of_another_site_changes_nothing(
    start: Start, target: str, foreign: dict[str, str], admins: dict[str, str]
) -> None:
    _, http = await start(admins=admins)
    async with http.post(target, data=b"{}", headers={**FORM, **foreign}) as answer:
        assert (answer.status, (await answer.json())["error"]) == (403, "forbidden")


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
async def test_a_page_of_another_site_is_refused_json_when_it_asks_beforehand(
    start: Start, foreign: dict[str, str]
) -> None:
    _, http = await start()
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with http.options("/db", headers={**foreign, **wanted}) as answer:
        assert answer.status == 405


@pytest.mark.parametrize(
    "sender",
    [
        {},
        {"Origin": PAGE},
        {"Origin": "http://kitchen.localhost:81", "Host": "kitchen.localhost:81"},
        {"Origin": "http://kitchen.localhost", "Host": "kitchen.localhost"},
        {"Origin": "https://proxy.example", "X-Forwarded-Host": "proxy.example"},
        {"Origin": "https://kitchen.localhost:8443", "Host": "kitchen.localhost"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
async def test_others_are_let_in(start: Start, sender: dict[str, str]) -> None:
    _, http = await start(cors=Cors((PAGE,)))
    async with http.post("/db/_view_cleanup", data=b"{}", headers={**FORM, **sender}) as answer:
        assert answer.status == 202


# --- limits


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("target", ["/db/a", "/db/a/file"])
async def test_a_body_that_is_too_large(start: Start, target: str, chunked: bool) -> None:
    _, http = await start(max_request_size=200_000)
    body = b'{"a":"' + b"x" * 300_000 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(body), 50_000):
            yield body[place : place + 50_000]

    async with http.put(target, data=pieces() if chunked else body) as answer:
        assert (answer.status, (await answer.json())["error"]) == (413, "too_large")
    async with http.get("/db/a") as answer:
        assert answer.status == 404


@pytest.mark.parametrize("head", ["GET /" + "x" * 100_000, "GET / HTTP/1.1\r\nX: " + "x" * 100_000])
async def test_a_head_that_is_too_large(start: Start, head: str) -> None:
    server, _ = await start()
    reader, writer = await connect(server)
    with suppress(ConnectionError):
        writer.write(head.encode())
        await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.0 400") or reader.at_eof()
    writer.close()


BASE = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "text",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        BASE + b"Bad Header: x\r\n\r\n",
        BASE + b"Content-Length: abc\r\n\r\n",
        BASE + b"Content-Type: text/plain\r\nContent-Type: text/css\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_a_line(
    start: Start, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = await start()
    with caplog.at_level(logging.DEBUG):
        answer = await exchange(server, text)
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "bad_request"
    assert [(record.levelname, record.exc_info) for record in caplog.records if "no HTTP" in record.message] == [
        ("DEBUG", None)
    ]
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_what_comes_several_times_is_one_list(start: Start) -> None:
    server, _ = await start()
    head = b"GET /_all_dbs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    tag = re.findall(rb'etag: ("[^"]+")', await exchange(server, head + b"\r\n"), re.IGNORECASE)[0]
    answer = await exchange(server, head + b'If-None-Match: %b\r\nIf-None-Match: "x"\r\n\r\n' % tag)
    assert answer.startswith(b"HTTP/1.1 304")


async def test_a_client_may_write_the_whole_url(start: Start) -> None:
    server, _ = await start()
    text = b"GET http://localhost/db HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert (await exchange(server, text)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("given", "is_taken"), [("my-id_7", True), ("", True), ("a b", False), ("x" * 37, False), ("é", False)]
)
async def test_a_client_may_name_its_request(start: Start, given: str, is_taken: bool) -> None:
    _, http = await start()
    async with http.get("/", headers={"X-Couch-Request-ID": given}) as answer:
        assert (answer.headers["X-Couch-Request-ID"] == given) is is_taken


async def test_a_long_query_is_taken(start: Start) -> None:
    _, http = await start()
    keys = json.dumps([f"key-{number}" for number in range(3000)])
    async with http.get("/db/_all_docs", params={"keys": keys}) as answer:
        assert len((await answer.json())["rows"]) == 3000


# --- the protocol


async def test_requests_in_a_row_on_one_connection(start: Start) -> None:
    server, _ = await start()
    reader, writer = await connect(server)
    put = b"PUT /db/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    writer.write(b"".join(put % number for number in range(20)) + b"GET /db HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    assert answer.count(b"HTTP/1.1 201") == 20
    assert b'"doc_count":20' in answer
    writer.close()


@pytest.mark.parametrize(
    ("method", "meant", "status"),
    [("POST", "PUT", 201), ("POST", "GET", 404), ("POST", "HEAD", 404), ("POST", "put", 400), ("PUT", "DELETE", 201)],
)
async def test_a_post_may_stand_for_another_method(start: Start, method: str, meant: str, status: int) -> None:
    _, http = await start()
    async with http.request(method, "/db/a", json={}, headers={"X-HTTP-Method-Override": meant}) as answer:
        assert answer.status == status


async def test_every_answer_has_a_name_and_a_date(start: Start) -> None:
    _, http = await start()
    names = []
    for _ in range(2):
        async with http.get("/") as answer:
            assert answer.headers["Server"].startswith("CouchDB/")
            assert answer.headers["Date"].endswith("GMT")
            names.append(answer.headers["X-Couch-Request-ID"])
    assert len(set(names)) == 2


async def test_there_are_no_pages(start: Start) -> None:
    _, http = await start()
    for path in ("/_utils", "/_utils/", "/_utils/index.html"):
        async with http.get(path) as answer:
            assert (answer.status, (await answer.json())["error"]) == (404, "not_found")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of pages, with files around it that are nobody's business."""
    pages = tmp_path / "pages"
    (pages / "scripts").mkdir(parents=True)
    (pages / "index.html").write_text("<p>here</p>")
    (pages / "scripts" / "a b.js").write_text("run()")
    (pages / ".hidden").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    (pages / "link").symlink_to(tmp_path / "secret")
    return pages


@pytest.mark.parametrize(
    ("path", "kind", "content"),
    [
        ("/_utils/", "text/html", "<p>here</p>"),
        ("/_utils/index.html", "text/html", "<p>here</p>"),
        ("/_utils", "text/html", "<p>here</p>"),
        ("/_utils/scripts/a%20b.js?v=1", "text/javascript", "run()"),
    ],
)
async def test_a_web_interface_is_served_from_a_folder(
    start: Start, folder: Path, path: str, kind: str, content: str
) -> None:
    _, http = await start(utils=folder, admins={"ada": admin_line("sesame", iterations=1)})
    async with http.get(URL(path, encoded=True)) as answer:
        assert (answer.status, answer.headers["Content-Type"], await answer.text()) == (200, kind, content)
        assert answer.headers["Content-Security-Policy"].startswith("child-src 'self' data: blob:; default-src 'self'")
        assert answer.headers["Cache-Control"] == "private, must-revalidate"
        assert path.startswith("/_utils/") or [seen.status for seen in answer.history] == [301]
        known = answer.headers["ETag"]
    async with http.get(URL(path, encoded=True), headers={"If-None-Match": known}) as answer:
        assert answer.status == 304
    async with http.post(URL(path, encoded=True), allow_redirects=False) as answer:
        assert answer.status in (301, 401, 405)


@pytest.mark.parametrize(
    "path",
    ["../secret", "..%2Fsecret", "%2e%2e/secret", "scripts/%2e%2e/%2e%2e/secret", "..%5Csecret", ".hidden", "link",
     "%2Fetc%2Fpasswd", "scripts", "no", "index.html%00", "C:%5Cx", "index.html/x", "\xc3\xa9%ff"],
)  # fmt: skip
async def test_nothing_else_is_served(start: Start, folder: Path, path: str) -> None:
    server, _ = await start(utils=folder)
    head = f"GET /_utils/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await exchange(server, head.encode("latin-1"))
    assert answer.split()[1] in (b"404", b"400")
    assert b"secret" not in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "header",
    [
        b"Authorization: Basic \xff\xfe",
        b"Authorization: Basic /////w==",
        b"Authorization: Bearer \xff.\xff.\xff",
        b"Authorization: Bearer eyJhbGciOltdfQ.e30.eA",
        b"Cookie: AuthSession=\xff",
        b"Cookie: AuthSession=//8-",
        b"Cookie: AuthSession=OjpA; =; ;;",
        b"X-Auth-CouchDB-UserName: \xff",
        b"X-CouchDB-WWW-Authenticate: \xff",
        b"Origin: http://\xff",
    ],
)
async def test_credentials_that_nobody_can_read_are_no_fault_of_the_server(start: Start, header: bytes) -> None:
    configured = {"jwt_keys": {"hmac:_default": "YWJj"}, "proxy_secret": "x", "cors": Cors(("*",))}
    server, _ = await start(require_valid_user=True, **configured)
    reader, writer = await connect(server)
    writer.write(b"GET /db HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + b"\r\n\r\n")
    line = await reader.readline()
    assert line.split()[1] in (b"400", b"401")
    writer.close()


# --- many clients


async def test_whoever_is_slow_is_in_nobodys_way(start: Start) -> None:
    server, http = await start()
    slow = [await connect(server) for _ in range(100)]
    for _, writer in slow:
        writer.write(b"GET /db HTTP/1.1\r\nHost:")
    async with asyncio.timeout(30), http.get("/db") as answer:
        assert answer.status == 200
    for _, writer in slow:
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"GET /db HTTP/1.1\r\nHost:", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET"])
async def test_whoever_does_not_end_a_head_is_let_go(
    start: Start, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.HEAD_SECONDS", 0.1)
    server, _ = await start()
    reader, writer = await connect(server)
    writer.write(begun)
    async with asyncio.timeout(30):
        await reader.read()
    writer.close()


@pytest.mark.parametrize("length", [b"Content-Length: 9", b"Content-Length: 9000000", b"Transfer-Encoding: chunked"])
async def test_whoever_does_not_go_on_with_a_body_is_told_so(
    start: Start, length: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.BODY_SECONDS", 0.1)
    server, http = await start()
    reader, writer = await connect(server)
    writer.write(b"PUT /db/a HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n3\r\n{" % length)
    async with asyncio.timeout(30):
        assert (await reader.readline()).split()[1] == b"408"
    writer.close()
    async with http.get("/db/a") as answer:
        assert answer.status == 404


# --- without an administrator


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:5984", 200),
        ("couch.localhost", 200),
        ("127.1.2.3:80", 200),
        ("[::1]:5984", 200),
        ("evil.example", 403),
        ("evil.example:5984", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
        ("[", 403),
        ("", 403),
    ],
)
async def test_without_an_administrator_a_server_answers_to_its_own_name_only(
    start: Start, host: str, status: int
) -> None:
    _, http = await start()
    async with http.get("/_all_dbs", headers={"Host": host}) as answer:
        assert answer.status == status


async def test_where_others_come_the_last_administrator_stays(start: Start) -> None:
    admins = {name: admin_line("sesame", iterations=1) for name in ("ada", "eve")}
    _, http = await start(host="0.0.0.0", admins=admins)  # noqa: S104 - it is for that
    config = "/_node/_local/_config/admins/"
    ada = {"Authorization": "Basic " + base64.b64encode(b"ada:sesame").decode()}
    async with http.delete(f"{config}eve", headers=ada) as answer:
        assert answer.status == 200
    async with http.delete(f"{config}ada", headers=ada) as answer:
        assert answer.status == 403
    async with http.get("/_all_dbs", headers=ada) as answer:
        assert answer.status == 200
    async with http.get("/_all_dbs") as answer:
        assert answer.status == 401


async def test_with_an_administrator_a_server_has_any_name(start: Start) -> None:
    _, http = await start(admins={"ada": admin_line("sesame", iterations=1)})
    async with http.get("/", headers={"Host": "kitchen.example"}) as answer:
        assert answer.status == 200


async def test_many_wait_for_one_change(start: Start) -> None:
    _, http = await start()
    answers = [await http.get("/db/_changes?feed=longpoll&since=now") for _ in range(FEEDS)]
    async with asyncio.timeout(30), http.put("/db/a", json={}) as answer:
        assert answer.status == 201
    found = await asyncio.gather(*(answer.json() for answer in answers))
    assert [row["id"] for changes in found for row in changes["results"]] == ["a"] * FEEDS


# --- the end


async def test_the_end_of_a_server_is_the_end_of_its_feeds(start: Start) -> None:
    server, http = await start()
    answers = [await http.get("/db/_changes?feed=continuous&since=now") for _ in range(20)]
    async with asyncio.timeout(30):
        await server.close()
    for answer in answers:
        with suppress(aiohttp.ClientError):
            await answer.read()


async def test_a_request_that_runs_comes_to_its_end(start: Start) -> None:
    server, http = await start()
    closing = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"a":'
        await closing.wait()
        yield b"1}"

    upload = asyncio.create_task(http.put("/db/a", data=pieces()))
    while not server._front._running:  # noqa: ASYNC110 - nothing tells when a request has arrived
        await asyncio.sleep(0)
    end = asyncio.create_task(server.close())
    await asyncio.sleep(0)
    closing.set()
    await end
    assert (await upload).status == 201


def test_it_runs_on_another_loop() -> None:
    async def talk() -> int:
        store = Store(None)
        server = await serve(store, "127.0.0.1", 0)
        async with aiohttp.ClientSession(server.url) as http:
            async with http.put("/db") as answer:
                await answer.read()
            feed = await http.get("/db/_changes?feed=continuous&since=now")
            async with http.put("/db/a", json={"a": 1}) as answer:
                await answer.read()
            while not (line := (await feed.content.readline()).strip()):
                pass
            assert json.loads(line)["id"] == "a"
            await server.close()
        await store.close()
        return answer.status

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(talk()) == 201
