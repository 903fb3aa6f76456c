"""Recorded conversations with a CouchDB 3.5.0, held again with another server: where does it answer otherwise?

A conversation is what was asked and what CouchDB answered, byte for byte as data:

    {"scenario": "document-crud", "about": "...", "server": "Apache CouchDB 3.5.0",
     "databases": [{"name": "wire-crud", "query": "q=1"}],       made before, dropped after
     "exchanges": [{"request":  {"method", "path", "auth", "headers", "json" | "text" | "base64"},
                    "response": {"status", "headers", "json" | "text" | "lines" | "base64"}}]}

``auth`` is ``"admin"``, None for nobody, ``"name:password"``, or ``"cookie"`` for the session just opened. Compared are

- the status; where CouchDB answered 500 or above, any error will do;
- the headers that say what the body is and where, and the ETag of documents and attachments;
- the body: JSON whole, the order of rows included; an attachment's bytes.

Opaque values (digests of revisions, sequence ids, made ids, bookmarks) are bound where they are first seen, and have to
stay what they are from there on; generations and numbers of sequences are compared. Facts of one machine, such as
sizes and times, are not compared.
"""

import base64
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

__all__ = ["Answer", "Mismatch", "Send", "load", "replay"]

CONVERSATIONS: Final = Path(__file__).parent / "conversations"

COMPARED_HEADERS: Final = (
    "content-type",
    "content-md5",
    "content-range",
    "accept-ranges",
    "content-encoding",
    "location",
)

# fmt: off
VOLATILE: Final = frozenset((
    "all_nodes", "authentication_db", "authentication_handlers", "cluster", "cluster_nodes", "collator_versions",
    "compact_running", "covering", "derived_key", "disk_format_version", "execution_time_ms", "features", "git_sha",
    "index_candidates", "instance_start_time", "iterations", "mrargs", "password_scheme", "password_sha",
    "pbkdf2_prf", "pending", "props", "purge_seq", "ref", "salt", "seeds", "selector_hints", "session_id",
    "signature", "sizes", "start_time", "update_seq", "updater_running", "updates_pending", "uuid", "vendor",
    "version", "waiting_clients", "waiting_commit",
))
"""Members of an answer that are one server's or one run's own."""
# fmt: on

_REVISION = re.compile(r"(\d+)-([0-9a-f]{32})")
_SEQUENCE = re.compile(r"(\d+)-[A-Za-z0-9_-]+")
_MADE_ID = re.compile(r"[0-9a-f]{32}")
_LONG: Final = 40  # characters of a sequence id, at least

_ABSENT: Final = "absent"


class Answer(NamedTuple):
    """A server's answer. The names of the headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Send = Callable[[str, str, dict[str, str], bytes | None], Awaitable[Answer]]
"""Puts a request to a server: its method, its target with the query, its headers, its body."""


@dataclass(slots=True)
class Mismatch:
    """A place where the server answers otherwise."""

    step: int
    request: str
    where: str
    expected: object
    got: object

    def __str__(self) -> str:
        return f"[{self.step}] {self.request}: {self.where} is {_short(self.got)}, not {_short(self.expected)}"


def load(name: str) -> dict[str, Any]:
    """A recorded conversation."""
    conversation: dict[str, Any] = json.loads((CONVERSATIONS / f"{name}.json").read_text())
    return conversation


async def replay(conversation: dict[str, Any], send: Send, *, reasons: bool = False) -> list[Mismatch]:
    """Where the server answers otherwise; the wording of ``reason`` counts only with ``reasons``."""
    return await _Replayer(conversation, send, reasons=reasons).run()


@dataclass(slots=True)
class _Comparison:
    """What one answer is compared with, and what was bound until then."""

    step: int
    request: str
    bound: dict[str, str]
    reasons: bool
    found: list[Mismatch] = field(default_factory=list)

    def miss(self, where: str, expected: object, got: object) -> None:
        """Note a difference."""
        self.found.append(Mismatch(self.step, self.request, where, expected, got))

    def same(self, at: str, expected: Any, got: Any, key: str = "") -> None:
        """Compare two JSON values."""
        if key in VOLATILE or (key == "reason" and not self.reasons):
            return
        match expected, got:
            case dict(), dict():
                self._same_members(at, expected, got)
            case list(), list():
                self._same_items(at, expected, got, key)
            case str(), str():
                if not self._is_bound(at, expected, got, key) and expected != got:
                    self.miss(at, expected, got)
            case _:
                self._same_scalar(at, expected, got)

    def _same_members(self, at: str, expected: dict[str, Any], got: dict[str, Any]) -> None:
        for name in [*expected, *(name for name in got if name not in expected)]:
            if name in expected and name in got:
                self.same(f"{at}.{name}", expected[name], got[name], name)
            elif name not in VOLATILE:
                self.miss(f"{at}.{name}", expected.get(name, _ABSENT), got.get(name, _ABSENT))

    def _same_items(self, at: str, expected: list[Any], got: list[Any], key: str) -> None:
        if len(expected) != len(got):
            self.miss(f"the length of {at}", len(expected), len(got))
            return
        for place, (left, right) in enumerate(zip(expected, got, strict=True)):
            self.same(f"{at}[{place}]", left, right, key)

    def _same_scalar(self, at: str, expected: Any, got: Any) -> None:
        if _is_number(expected) and _is_number(got):
            alike = math.isclose(expected, got, rel_tol=1e-12)  # the order of a sum is the server's own
        else:
            alike = type(expected) is type(got) and expected == got
        if not alike:
            self.miss(at, expected, got)

    def _is_bound(self, at: str, expected: str, got: str, key: str) -> bool:
        """Whether the two are opaque, and so settled."""
        if expected in self.bound:
            if self.bound[expected] != got:
                self.miss(at, f"{expected} (here {self.bound[expected]})", got)
            return True
        number = _number(expected, key)
        if number is None:
            return False
        if number != _number(got, key) and number != _number(f"{got}{' ' * _LONG}", key):
            self.miss(at, expected, got)
        self.bound[expected] = got
        return True


def _number(text: str, key: str) -> str | None:
    """What an opaque value shows of itself: a generation, a number, or nothing; None where a value is not opaque."""
    if found := _REVISION.fullmatch(text):
        return found[1]
    if key in ("seq", "last_seq") and (found := re.match(r"(\d+)-", text)) and len(text) > _LONG:
        return found[1]
    if key == "bookmark" and text != "nil":
        return ""
    return "" if _MADE_ID.fullmatch(text) else None


class _Replayer:
    """Holds one conversation."""

    def __init__(self, conversation: dict[str, Any], send: Send, *, reasons: bool) -> None:
        self._conversation = conversation
        self._send = send
        self._reasons = reasons
        self._bound: dict[str, str] = {}
        self._cookie = ""

    async def run(self) -> list[Mismatch]:
        """Where the server answers otherwise."""
        databases = [(quote(each["name"], safe=""), each["query"]) for each in self._conversation["databases"]]
        for name, query in databases:
            await self._call("DELETE", f"/{name}")
            await self._call("PUT", f"/{name}?{query}")
        try:
            exchanges = self._conversation["exchanges"]
            steps = [await self._step(step, each["request"], each["response"]) for step, each in enumerate(exchanges)]
        finally:
            for name, _ in databases:
                await self._call("DELETE", f"/{name}")
        return [mismatch for found in steps for mismatch in found]

    async def _call(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        auth: str | None = "admin",
    ) -> Answer:
        sent = dict(headers or {})
        if auth == "cookie":
            sent["Cookie"] = self._cookie
        elif auth is not None:
            credentials = "admin:admin" if auth == "admin" else auth
            sent["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        answer = await self._send(method, target, sent, body)
        cookie = answer.headers.get("set-cookie", "")
        if cookie.startswith("AuthSession="):
            self._cookie = cookie.partition(";")[0]
        return answer

    def _rebound(self, text: str) -> str:
        """The text with this server's opaque values in the place of the recorded ones."""
        for old in sorted(self._bound, key=len, reverse=True):
            text = text.replace(old, self._bound[old])
        return text

    async def _step(self, step: int, asked: dict[str, Any], expected: dict[str, Any]) -> list[Mismatch]:
        headers = {name: self._rebound(value) for name, value in asked["headers"].items()}
        body = self._body(asked)
        answer = await self._call(asked["method"], self._rebound(asked["path"]), headers, body, asked["auth"])
        comparison = _Comparison(step, f"{asked['method']} {asked['path']}", self._bound, self._reasons)
        if expected["status"] >= 500:  # CouchDB has failed: any refusal will do
            if answer.status < 400:
                comparison.miss("status", "an error", answer.status)
        elif answer.status != expected["status"]:
            comparison.miss("status", expected["status"], f"{answer.status} {_short(answer.body)}")
        else:
            self._compare_headers(comparison, asked["method"], expected["headers"], answer.headers)
            if asked["method"] != "HEAD":
                _compare_body(comparison, expected, answer.body)
        return comparison.found

    def _body(self, asked: dict[str, Any]) -> bytes | None:
        match asked:
            case {"json": value}:
                return self._rebound(json.dumps(value, ensure_ascii=False)).encode()
            case {"text": str(text)}:
                return text.encode()
            case {"base64": str(encoded)}:
                return base64.b64decode(encoded)
        return None

    def _compare_headers(
        self, comparison: _Comparison, method: str, expected: Mapping[str, str], got: Mapping[str, str]
    ) -> None:
        for name in COMPARED_HEADERS:
            wanted, there = _header(name, expected.get(name)), _header(name, got.get(name))
            if name == "location" and wanted and there:
                _compare_locations(comparison, self._rebound(wanted), there)
            elif wanted != there and not (wanted is None and name != "content-type"):
                comparison.miss(f"header {name}", wanted, there)
        tag = expected.get("etag", "").strip('"')
        if _REVISION.fullmatch(tag) and ("etag" in got or method in ("GET", "HEAD")):
            comparison.same("header etag", tag, got.get("etag", _ABSENT).strip('"'))


def _header(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    match name:
        case "location":
            return urlsplit(value).path
        case "content-type":
            return value.partition(";")[0].strip().lower()
    return value


def _compare_locations(comparison: _Comparison, expected: str, got: str) -> None:
    if _MADE_ID.fullmatch(expected.rpartition("/")[2]):
        comparison.same("header location", expected.rpartition("/")[2], got.rpartition("/")[2])
    elif expected != got:
        comparison.miss("header location", expected, got)


def _compare_body(comparison: _Comparison, expected: dict[str, Any], got: bytes) -> None:
    text = got.decode("utf-8", "replace")
    match expected:
        case {"json": value}:
            comparison.same("the body", value, _parsed(text))
        case {"lines": lines}:
            comparison.same("the lines", _parsed_lines(lines), _parsed_lines(text.split("\n")))
        case {"base64": str(encoded)}:
            if base64.b64decode(encoded) != got:
                comparison.miss("the body", base64.b64decode(encoded), got)
        case {"text": str(wanted)}:
            if wanted != text:
                comparison.miss("the body", wanted, text)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _parsed_lines(lines: list[str]) -> list[Any]:
    """The lines of a feed that say something, be they JSON or server-sent events."""
    stripped = [line.strip() for line in lines]
    told = [line.removeprefix("data:") for line in stripped if not line.startswith(("id:", "event:"))]
    return [_parsed(line) for line in told if line.strip()]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:197]}..."
