"""Random queries of random documents, through random indexes and to their last page: as a real CouchDB answers them."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

from tests.embedded.conftest import Client
from tests.embedded.oracle import Call, fresh_database, needs_oracle

ROUNDS: Final = 3
QUERIES: Final = 40
PAGES: Final = 8
PARTITIONS: Final = ("p", "q", "é")
IDS: Final = [f"{partition}:{name}" for partition in PARTITIONS for name in ("1", "2", "a", "B", "b", "ä", "z")]
PATHS: Final = ("a", "a", "b", "b", "c.d", "c", "_id")
VALUES: Final = [None, False, True, 0, 1, 1.5, 2, -3, "", "a", "A", "ä", "b c", [], [1], [1, "x"], {}, {"d": 1}]
SCALARS: Final = [value for value in VALUES if not isinstance(value, list | dict)]
COMPARISONS: Final = ("$eq", "$gt", "$gte", "$lt", "$lte")
INDEXES: Final[list[dict[str, Any]]] = [
    {"index": {"fields": ["a"]}, "ddoc": "a", "name": "a"},
    {"index": {"fields": ["a", "b"]}, "ddoc": "ab", "name": "ab"},
    {"index": {"fields": ["b", "a"]}, "ddoc": "ab2", "name": "ba"},
    {"index": {"fields": ["c.d", "_id"]}, "ddoc": "c", "name": "cd"},
    {"index": {"fields": ["b"], "partial_filter_selector": {"a": {"$gt": 0}}}, "ddoc": "partial", "name": "b"},
]
_COUNTS: Final = ("total_keys_examined", "total_docs_examined", "total_quorum_docs_examined", "results_returned")
_FAULTS: Final = ("unknown_error", "badmatch", "function_clause", "incomplete")
"""What CouchDB fails with, at queries that it should be able to answer."""


class Requests:
    """Requests that are made up."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def documents(self, revs: dict[str, str]) -> list[dict[str, Any]]:
        """Some documents, new, changed or deleted."""
        chosen = self.random.sample(IDS, self.random.randint(3, len(IDS)))
        return [self._document(id) | ({"_rev": revs[id]} if id in revs else {}) for id in chosen]

    def query(self) -> dict[str, Any]:
        """A query for the first page."""
        paths = self.random.sample(sorted(set(PATHS)), self.random.randint(1, 2))
        query: dict[str, Any] = {"selector": self._selector(paths), "execution_stats": True}
        if self._often():
            direction = self.random.choice(("asc", "desc"))
            query["sort"] = [{path: direction} for path in paths]
        if self._often():
            query["fields"] = self.random.sample(["_id", "a", "b", "c.d", "_rev"], self.random.randint(1, 3))
        if self._often():
            query["use_index"] = self.random.choice([["a"], ["ab"], ["ab2", "ba"], ["c"], ["partial"], ["none"]])
        for name, most in (("limit", 6), ("skip", 4), ("r", 3)):
            if self._often():
                query[name] = self.random.randint(name == "r", most)
        if self._often():
            query["conflicts"] = True
        return query

    def _document(self, id: str) -> dict[str, Any]:
        if self.random.random() < 0.15:
            return {"_id": id, "_deleted": True}
        members = {name: self.random.choice(VALUES) for name in ("a", "b", "c") if self.random.random() < 0.85}
        return {"_id": id, **members}

    def _selector(self, paths: Sequence[str]) -> dict[str, Any]:
        parts = {path: self._condition(path) for path in paths}
        if self.random.random() < 0.2:
            return {self.random.choice(("$and", "$or")): [{path: condition} for path, condition in parts.items()]}
        return parts

    def _condition(self, path: str) -> Any:
        pool = IDS if path == "_id" else SCALARS
        names = self.random.sample(COMPARISONS, self.random.choice((1, 1, 2)))
        match self.random.random():
            case chance if chance < 0.7:
                return {name: self.random.choice(pool) for name in names}
            case chance if chance < 0.8:
                return {"$in": self.random.sample(pool, 2)}
            case chance if chance < 0.9:
                return {"$exists": True}
        return {"$gt": None}

    def _often(self) -> bool:
        return self.random.random() < 0.3


@pytest.fixture(params=["", "&partitioned=true"], ids=["whole", "partitioned"])
def options(request: pytest.FixtureRequest) -> str:
    """What kind of database it is."""
    return f"?q=1{request.param}"


@pytest.fixture
def call(options: str) -> Iterator[Call]:
    """Sends requests to a database of the oracle."""
    with fresh_database("find", options) as send:
        yield send


def shown(answer: Any) -> Any:
    """An answer without what may differ."""
    if "docs" not in answer:
        return answer.get("error"), answer.get("reason")
    counts = answer.get("execution_stats")
    return answer["docs"], counts and [counts[name] for name in _COUNTS], answer.get("warning")


@needs_oracle
@pytest.mark.parametrize("seed", range(3))
async def test_every_page_is_the_same(call: Call, client: Client, options: str, seed: int) -> None:
    await client.ask("PUT", f"/db{options}")
    requests = Requests(seed)

    async def both(method: str, target: str, body: Any) -> tuple[Any, Any]:
        theirs = await asyncio.to_thread(call, method, target, body)
        return theirs, await client.json(method, f"/db{target}", body)

    for index in INDEXES:
        scope = {"partitioned": requests.random.choice((True, False))} if "partitioned" in options else {}
        await both("POST", "/_index", {**index, **scope})
    revs: dict[str, str] = {}
    for _ in range(ROUNDS):
        await both("POST", "/_bulk_docs", {"docs": requests.documents(revs)})
        theirs, ours = await both("GET", "/_all_docs", None)
        assert ours["rows"] == theirs["rows"]
        revs = {row["id"]: row["value"]["rev"] for row in theirs["rows"]}
        for _ in range(QUERIES):
            query, bookmarks = requests.query(), ("", "")
            inside = "partitioned" in options and requests.random.random() < 0.6
            target = f"/_partition/{requests.random.choice('pq')}/_find" if inside else "/_find"
            for _ in range(PAGES):
                theirs = await asyncio.to_thread(call, "POST", target, {**query, "bookmark": bookmarks[0]})
                ours = await client.json("POST", f"/db{target}", {**query, "bookmark": bookmarks[1]})
                if theirs.get("error") in _FAULTS:
                    break
                assert shown(ours) == shown(theirs), (target, query)
                if not theirs.get("docs"):
                    break
                bookmarks = theirs["bookmark"], ours["bookmark"]
