"""Random writes, attachments and purges: the store and a real CouchDB answer alike, revision ids included."""

import asyncio
import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from couchmodel import upkeep
from couchmodel._embedded.storage.store import Store
from tests.embedded.conftest import Client
from tests.embedded.oracle import Call, fresh_database, needs_oracle

IDS: Final = ("a", "b", "c")
TYPES: Final = ("text/plain", "image/png", "application/json")
STEPS: Final = 120
QUERIES: Final = (
    "?meta=true&att_encoding_info=true",
    "?open_revs=all&revs=true&attachments=true",
    "?attachments=true&local_seq=true",
    "?open_revs=%5B%221-a%22%5D&latest=true",
)


@pytest.fixture
def call() -> Iterator[Call]:
    """Sends requests to a database of the oracle."""
    with fresh_database("documents") as send:
        yield send


@pytest.fixture
async def ours(client: Client) -> Client:
    """A client of a store with an empty database."""
    await client.ask("PUT", "/db?q=1")
    return client


class Requests:
    """Requests that are made up, with the revisions that answers have named."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.revs: dict[str, list[str]] = {id: [] for id in IDS}

    def next(self) -> tuple[str, str, Any]:
        """A method, a target and a body."""
        id = self.random.choice(IDS)
        kind = self.random.choice(("put", "put", "put", "attach", "detach", "replicate", "replicate", "purge", "bulk"))
        rev = self._rev(id)
        match kind:
            case "put":
                return "PUT", f"/{id}", self._document(id, rev)
            case "attach":
                document = self._document(id, rev)
                document["_attachments"] = {name: self._attachment() for name in self.random.sample("xyz", 2)}
                return "PUT", f"/{id}", document
            case "detach":
                return "DELETE", f"/{id}/{self.random.choice('xyz')}?rev={rev or '1-a'}", None
            case "replicate":
                return "POST", "/_bulk_docs", {"new_edits": False, "docs": [self._replicated(id)]}
            case "purge":
                return "POST", "/_purge", {id: [self._rev(id) or "1-a" for _ in range(2)]}
        return "POST", "/_bulk_docs", {"docs": [self._document(each, self._rev(each)) | {"_id": each} for each in IDS]}

    def note(self, answer: Any) -> None:
        """Remember the revisions that an answer names."""
        for row in answer if isinstance(answer, list) else [answer]:
            if "rev" in row and row["rev"] not in self.revs[row["id"]]:
                self.revs[row["id"]].append(row["rev"])

    def _rev(self, id: str) -> str | None:
        return self.random.choice([None, *self.revs[id][-4:], *self.revs[id][-4:]])

    def _document(self, id: str, rev: str | None) -> dict[str, Any]:
        document: dict[str, Any] = {"n": self.random.randint(0, 9), "text": "ä\u2028"}
        if rev is not None:
            document["_rev"] = rev
        if self.random.random() < 0.15:
            document["_deleted"] = True
        elif self.random.random() < 0.4:
            document["_attachments"] = {self.random.choice("xyz"): {"stub": True}}
        return document

    def _attachment(self) -> dict[str, str]:
        data = self.random.randbytes(self.random.choice((0, 1, 100)))
        return {"content_type": self.random.choice(TYPES), "data": base64.b64encode(data).decode()}

    def _replicated(self, id: str) -> dict[str, Any]:
        parent = self._rev(id)
        generation = int(parent.partition("-")[0]) + 1 if parent else 1
        digest = f"{self.random.getrandbits(128):032x}"
        self.revs[id].append(f"{generation}-{digest}")
        ids = [digest, *([parent.partition("-")[2]] if parent else [])]
        document: dict[str, Any] = {
            "_id": id,
            "_revisions": {"start": generation, "ids": ids},
            "n": self.random.randint(0, 9),
        }
        if self.random.random() < 0.5:
            document["_attachments"] = {name: self._attachment() | {"revpos": 1} for name in "yx"}
        return document | ({"_deleted": True} if self.random.random() < 0.3 else {})


async def ask(client: Client, method: str, target: str, body: Any) -> Any:
    """The store's answer as JSON."""
    answer = await client.ask(method, f"/db{target}", body, headers={"accept": "application/json"})
    await answer.collect()
    return answer.json()


def is_refused(answer: Any) -> bool:
    """Whether a write was refused; which of several reasons is told first is not compared."""
    return isinstance(answer, dict) and answer.get("error") in ("conflict", "missing_stub", "unknown_error")


@needs_oracle
@pytest.mark.parametrize("seed", range(4))
async def test_every_write_has_the_same_outcome(call: Call, ours: Client, seed: int) -> None:
    requests = Requests(seed)
    for _ in range(STEPS):
        method, target, body = requests.next()
        theirs = await asyncio.to_thread(call, method, target, body)
        answer = await ask(ours, method, target, body)
        assert answer == theirs or (is_refused(answer) and is_refused(theirs)), (method, target, body)
        if "error" not in theirs and "purged" not in theirs:
            requests.note([row for row in theirs if "rev" in row] if isinstance(theirs, list) else theirs)
    for target in (f"/{id}{query}" for id in IDS for query in QUERIES):
        theirs = await asyncio.to_thread(call, "GET", target)
        assert await ask(ours, "GET", target, None) == theirs, target
    infos = [
        info["purged_infos"] for info in (await ask(ours, "GET", "/_purged_infos", None), call("GET", "/_purged_infos"))
    ]
    assert sorted(infos[0], key=json.dumps) == sorted(infos[1], key=json.dumps)


async def test_a_store_that_was_purged_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(path)
    client, requests = Client(store), Requests(7)
    await client.ask("PUT", "/db?q=1")
    for _ in range(STEPS * 2):
        method, target, body = requests.next()
        answer = await ask(client, method, target, body)
        if "error" not in answer and "purged" not in answer:
            requests.note([row for row in answer if "rev" in row] if isinstance(answer, list) else answer)
    await store.close()
    assert (await upkeep.check(path)).problems == []
