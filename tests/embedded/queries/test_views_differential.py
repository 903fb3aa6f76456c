"""Views of random documents, asked in random ways: the store and a real CouchDB answer alike."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.embedded.conftest import Client
from tests.embedded.oracle import Call, fresh_database, needs_oracle

IDS: Final = [f"d{n}" for n in range(12)]
VALUES: Final = [None, False, True, 0, 1, 1.5, -3, "", "a", "A", "ä", "b c", [], [1], [1, "x"], [1, 2, 3], {}, {"a": 1}]
ROUNDS: Final = 6
QUERIES: Final = 25
SOME: Final = ("true", "false")

EMIT: Final = "function (doc) { emit(doc.k, doc.n); }"
MANY: Final = """function (doc) {
  for (var place = 0; place < doc.n % 4; place++) emit([doc.k, place % 2], [doc.n, place]);
  if (doc._conflicts) emit(["conflicts", doc._conflicts.length], [1, 1]);
}"""
LINKED: Final = "function (doc) { emit(doc.n, {_id: 'd' + doc.n % 12}); emit(doc.n, null); }"

DESIGNS: Final[dict[str, dict[str, Any]]] = {
    "script": {
        "views": {
            "plain": {"map": EMIT},
            "sum": {"map": EMIT, "reduce": "_sum"},
            "count": {"map": EMIT, "reduce": "_count"},
            "stats": {"map": EMIT, "reduce": "_stats"},
            "top": {"map": EMIT, "reduce": "_top_2"},
            "last": {"map": EMIT, "reduce": "_last"},
            "distinct": {"map": EMIT, "reduce": "_approx_count_distinct"},
            "many": {"map": MANY, "reduce": "_sum"},
            "linked": {"map": LINKED},
            "own": {"map": EMIT, "reduce": "function (keys, values, again) { return sum(values); }"},
            "raw": {"map": EMIT, "options": {"collation": "raw"}},
        }
    },
    "fields": {
        "language": "query",
        "views": {
            "one": {"map": {"fields": {"k": "asc"}}, "reduce": "_count", "options": {"def": {"fields": ["k"]}}},
            "two": {"map": {"fields": {"k": "asc", "n": "asc"}}, "options": {"def": {"fields": ["k", "n"]}}},
        },
    },
}
REDUCED: Final = {"sum", "count", "stats", "top", "last", "distinct", "many", "own", "one"}


class Requests:
    """Requests that are made up, with the revisions that answers have named."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.revs: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.written: set[str] = set()

    def write(self) -> tuple[str, str, Any]:
        """A write: documents and tombstones, a conflict, or a purge."""
        ids = self.random.sample(IDS, self.random.randint(1, 6))
        match self.random.choice(("bulk", "bulk", "bulk", "conflict", "purge")):
            case "conflict":
                digest = f"{self.random.getrandbits(128):032x}"
                docs = [{**self._document(id), "_rev": f"1-{digest}"} for id in ids]
                return "POST", "/_bulk_docs", {"new_edits": False, "docs": docs}
            case "purge":
                # CouchDB takes a tombstone that a purge leaves alone for a living document, and where the revision
                # is none that can be purged it forgets the rows of the document, which stays.
                unsafe = self.deleted | self.written
                return "POST", "/_purge", {id: [self.revs[id]] for id in ids if id in self.revs and id not in unsafe}
        docs = [{**self._document(id), **({"_rev": self.revs[id]} if id in self.revs else {})} for id in ids]
        return "POST", "/_bulk_docs", {"docs": docs}

    def note(self, rows: list[Any]) -> None:
        """Remember the documents that there are."""
        self.revs = {row["id"]: row["value"]["rev"] for row in rows}
        self.written.clear()

    def query(self) -> tuple[str, str, Any]:
        """A view, and what is wanted of it."""
        design = self.random.choice([*DESIGNS])
        view = self.random.choice([*DESIGNS[design]["views"]])
        chosen = self._options(view in REDUCED)
        body = {"keys": [self._key(view) for _ in range(self.random.randint(0, 4))]} if self._rarely() else None
        query = "&".join(f"{name}={quote(value)}" for name, value in chosen.items())
        return ("POST" if body else "GET"), f"/_design/{design}/_view/{view}?{query}", body

    def _document(self, id: str) -> dict[str, Any]:
        deleted = {"_deleted": True} if self.random.random() < 0.2 else {}
        self.written.add(id)
        self.deleted |= {id} if deleted else set()
        return {"_id": id, "k": self.random.choice(VALUES), "n": self.random.randint(0, 9), **deleted}

    def _options(self, reduced: bool) -> dict[str, str]:
        options = {"descending": self.random.choice(SOME)} if self._rarely() else {}
        if reduced:
            grouping = self.random.choice(("", "group", "group_level", "reduce"))
            values = {"group": "true", "group_level": str(self.random.randint(0, 3)), "reduce": "false"}
            options |= {grouping: values[grouping]} if grouping else {}
        if self._rarely():
            options |= {"include_docs": "true", "conflicts": self.random.choice(SOME)}
            options |= {"reduce": "false"} if reduced else {}
        for name in ("startkey", "endkey", "key"):
            if self.random.random() < 0.2:
                options[name] = json.dumps(self._key("any"))
        for name in ("startkey_docid", "endkey_docid"):
            if self.random.random() < 0.2:
                options[name] = self.random.choice(IDS)
        for name in ("limit", "skip"):
            if self.random.random() < 0.2:
                options[name] = str(self.random.randint(0, 6))
        if self._rarely():
            options["inclusive_end"] = self.random.choice(SOME)
        return options

    def _key(self, view: str) -> Any:
        key = self.random.choice(VALUES)
        return [key, self.random.randint(0, 2)] if view in ("many", "two") or self._rarely() else key

    def _rarely(self) -> bool:
        return self.random.random() < 0.25


@pytest.fixture
def call() -> Iterator[Call]:
    """Sends requests to a database of the oracle."""
    with fresh_database("views") as send:
        yield send


def shown(answer: Any) -> Any:
    """An answer without what may differ: the words of a refusal."""
    return answer.get("error", answer)


@needs_oracle
@pytest.mark.parametrize("seed", range(3))
async def test_every_view_has_the_same_rows(call: Call, client: Client, seed: int) -> None:
    pytest.importorskip("quickjs")
    await client.ask("PUT", "/db?q=1")

    async def both(method: str, target: str, body: Any) -> tuple[Any, Any]:
        theirs = await asyncio.to_thread(call, method, target, body)
        return theirs, await client.json(method, f"/db{target}", body)

    for name, design in DESIGNS.items():
        await both("PUT", f"/_design/{name}", design)
    requests = Requests(seed)
    for _ in range(ROUNDS):
        for _ in range(requests.random.randint(1, 5)):
            method, target, body = requests.write()
            await both(method, target, body)
        theirs, ours = await both("GET", "/_all_docs?include_docs=true&conflicts=true", None)
        assert ours["rows"] == theirs["rows"]
        requests.note(theirs["rows"])
        for _ in range(QUERIES):
            method, target, body = requests.query()
            theirs, ours = await both(method, target, body)
            assert shown(ours) == shown(theirs), (method, target, body)
