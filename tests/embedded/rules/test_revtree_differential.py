"""The revision tree and the revision ids against a real CouchDB, which ``COUCHMODEL_TEST_URL`` names."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from couchmodel._embedded.documents.parents import parent_for
from couchmodel._embedded.rules.revision_ids import revision_id
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._wire.revisions import Rev, ancestry, revisions_member
from couchmodel.errors import ConflictError
from tests.embedded.oracle import Call, fresh_database, needs_oracle

LIMITS = [1000, 1000, 1000, 5, 3, 1]

pytestmark = needs_oracle


@pytest.fixture
def call() -> Iterator[Call]:
    """Sends requests to a database of the oracle."""
    with fresh_database("revtree") as send:
        # CouchDB looks documents up before it writes, and is stricter then, until it has read validation functions.
        send("PUT", "/first", {})
        yield send


class Replica:
    """What this library makes of the writes that CouchDB gets."""

    def __init__(self, seed: int, limit: int) -> None:
        self.random = random.Random(seed)
        self.limit = limit
        self.trees = {name: RevTree.empty() for name in "abcd"}
        # Each revision that was ever made up or answered, and its parent: the histories that may arrive.
        self.histories: dict[str, dict[Rev, Rev | None]] = {name: {} for name in self.trees}
        self.tombstones: dict[Rev, bool] = {}

    def edit(self, name: str, body: dict[str, int]) -> tuple[dict[str, Any], str]:
        """An interactive write, and the revision or the error that is to come of it."""
        tree, given, deleting = self.trees[name], self._given(name), self.random.random() < 0.3
        document = {"_id": name, **body, **({"_rev": str(given)} if given else {}), "_deleted": deleting}
        try:
            parent = parent_for(tree, given, deleting)
        except ConflictError as error:
            return document, error.code
        before = parent or Rev(0, "")
        digest = revision_id(deleting, before.generation, parent and parent.digest, body, [])
        new = Rev(before.generation + 1, digest)
        self.trees[name] = tree.extend(parent, new, deleted=deleting).stem(self.limit)
        self.tombstones[new] = deleting
        history = self.histories[name]
        if parent is not None:
            history.setdefault(parent, None)
        history[new] = parent
        return document, str(new)

    def _given(self, name: str) -> Rev | None:
        known = [*self.histories[name]]
        leaves = [*self.trees[name].leaves]
        kind = self.random.choice(["none", "leaf", "leaf", "leaf", "known", "unknown"])
        if kind == "unknown" and self.random.random() < 0.3:
            return self._invented(self.random.randint(1, 4))
        pool = {"leaf": leaves, "known": known}.get(kind, [])
        return self.random.choice(pool) if pool else None

    def replicate(self, name: str, body: dict[str, int]) -> dict[str, Any]:
        """A write with ``new_edits=false``: a history that may begin, branch and end anywhere."""
        path = self._history(name)
        deleted = self.tombstones.setdefault(path[0], self.random.random() < 0.3)
        tree = self.trees[name].merge(path, deleted=deleted)
        self.trees[name] = tree.stem(self.limit)
        return {"_id": name, **body, "_revisions": revisions_member(path), "_deleted": deleted}

    def _history(self, name: str) -> list[Rev]:
        history = self.histories[name]
        tip = self.random.choice([None, *history])
        for _ in range(self.random.choice([0, 1, 1, 1, 2, 3])):
            new = self._invented(1 if tip is None else tip.generation + 1)
            history[new] = tip
            tip = new
        if tip is None:
            return self._history(name)
        path: list[Rev] = []
        while tip is not None:
            path.append(tip)
            tip = history[tip]
        return path[: min(self.limit, self.random.choice([1, 2, 3, 50]))]

    def _invented(self, generation: int) -> Rev:
        digest = f"{self.random.getrandbits(128):032x}"
        return Rev(generation, digest if self.random.random() < 0.7 else digest[: self.random.randint(4, 9)])


def compare(call: Call, name: str, tree: RevTree, limit: int) -> None:
    """Winner, conflicts and histories are the same on both sides."""
    meta = call("GET", f"/{name}?conflicts=true&deleted_conflicts=true")
    if tree.deleted:
        assert meta["reason"] == "deleted"
    else:
        assert meta["_rev"] == str(tree.winner)
        assert meta.get("_conflicts", []) == [*map(str, tree.conflicts)]
        assert meta.get("_deleted_conflicts", []) == [*map(str, tree.deleted_conflicts)]
    opened = [row["ok"] for row in call("GET", f"/{name}?open_revs=all&revs=true")]
    assert [row["_rev"] for row in opened] == [*map(str, sorted(tree.leaves, key=lambda rev: rev.rank))]
    for row in opened:
        leaf = Rev.parse(row["_rev"])
        mine = [*map(str, tree.path(leaf)[:limit])]
        theirs = [*map(str, ancestry(row))]
        # Where a history joins stemmed ones, CouchDB's way of repairing its tree may forget an ancestor more.
        assert mine[: len(theirs)] == theirs
        assert limit < 1000 or mine == theirs
        assert row.get("_deleted", False) == tree.is_deleted(leaf)


@pytest.mark.parametrize(("seed", "limit"), list(enumerate(LIMITS)))
def test_random_edits_and_replications_make_the_tree_that_couchdb_has(call: Call, seed: int, limit: int) -> None:
    call("PUT", "/_revs_limit", limit)
    replica = Replica(seed, limit)
    for step in range(150):
        name = replica.random.choice([*replica.trees])
        if replica.random.random() < 0.5:
            document, expected = replica.edit(name, {"step": step})
            [row] = call("POST", "/_bulk_docs", {"docs": [document]})
            assert row.get("rev", row.get("error")) == expected
        else:
            document = replica.replicate(name, {"step": step})
            assert call("POST", "/_bulk_docs", {"docs": [document], "new_edits": False}) == []
        if replica.trees[name]:
            compare(call, name, replica.trees[name], limit)
