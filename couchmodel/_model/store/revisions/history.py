"""The revisions of a document, and which of them hold the changes of which others.

A revision holds the changes of its ancestors. A merge of several versions also holds the changes of those that are not
its ancestors, and CouchDB has no place to say so, because a revision has one parent. So the tombstone that ends such a
version names the merge, in the member ``merged_into``. Without that, a version that somebody has changed at the moment
of the merge would count twice.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from couchmodel._wire.messages import Request, document_path, encode
from couchmodel.engine import Database
from couchmodel.engine.bulk import row_error
from couchmodel.errors import NotFoundError
from couchmodel.types import JSONObject

__all__ = ["History", "end_version", "read_history", "read_revisions", "write_merge"]

_ALL_NODES: Final = {"r": "1000"}
"""The parameter that lets a read wait for every node that has the document. A node that is down is not waited for."""

_WRITE_TO_ALL: Final = {"w": "1000"}
"""The parameter that lets a write wait in the same way."""

_MERGED_INTO: Final = "merged_into"


class History:
    """The leaves of a document and their ancestors."""

    def __init__(self, leaves: Iterable[JSONObject]) -> None:
        """``leaves`` are documents with ``_revisions``."""
        self._leaves = {leaf["_rev"]: leaf for leaf in leaves}
        self._parents: dict[str, set[str]] = {}
        for leaf in self._leaves.values():
            path = _path_of(leaf)
            for child, parent in zip(path, [*path[1:], None], strict=True):
                self._parents.setdefault(child, set()).update({parent} if parent else ())
            # The merge holds the changes of the version below the tombstone, as if that were its second parent.
            if leaf.get("_deleted") and leaf.get(_MERGED_INTO):
                self._parents.setdefault(leaf[_MERGED_INTO], set()).update(path[1:2])

    def __contains__(self, rev: object) -> bool:
        return rev in self._parents

    def __getitem__(self, rev: str) -> JSONObject:
        return self._leaves[rev]

    @property
    def live(self) -> list[str]:
        """The leaves that are not deleted, with the one first that CouchDB shows."""
        live = [rev for rev, leaf in self._leaves.items() if not leaf.get("_deleted")]
        # CouchDB shows the version of the highest generation, and of the highest id among these.
        return sorted(live, key=lambda rev: (_generation(rev), rev), reverse=True)

    def is_deleted(self, rev: str | None) -> bool:
        """Return True if somebody has deleted a revision, other than by ending it for the sake of another version."""
        leaves = [self._leaves.get(each, {}) for each in self.children(rev)] if rev else []
        return any(leaf.get("_deleted") and _MERGED_INTO not in leaf for leaf in leaves)

    def children(self, rev: str | None) -> list[str]:
        """Return the revisions that follow a revision; those without a parent for None."""
        return [each for each, parents in self._parents.items() if (rev in parents if rev else not parents)]

    def held_by(self, rev: str) -> set[str]:
        """Return the revisions whose changes a revision holds, itself among them."""
        held, added = set[str](), {rev}
        while added:
            held |= added
            added = self._parents_of(added) - held
        return held

    def latest(self, revs: Iterable[str]) -> list[str]:
        """Return those of some revisions whose changes no other one of them holds."""
        wanted = set(revs)
        # One walk gathers all ancestors, as a history may have hundreds of revisions, and is merged again and again.
        older, added = set[str](), self._parents_of(wanted)
        while added:
            older |= added
            added = self._parents_of(added) - older
        return sorted(wanted - older)

    def _parents_of(self, revs: Iterable[str]) -> set[str]:
        return {parent for each in revs for parent in self._parents.get(each, ())}


async def read_history(database: Database, id: str) -> History:
    """Return the revisions of a document, from all nodes. There are none if no such document was ever stored."""
    query = {"open_revs": "all", "revs": "true", **_ALL_NODES}
    try:
        rows = await database.session.get(document_path(database.path, id), query)
    except NotFoundError:
        return History(())
    return History(row["ok"] for row in rows if "ok" in row)


async def read_revisions(database: Database, id: str, revs: Sequence[str]) -> dict[str, JSONObject]:
    """Return the content of those of some revisions that the store still has."""
    if not revs:
        return {}
    query = {"open_revs": encode(list(revs)).decode(), **_ALL_NODES}
    rows = await database.session.get(document_path(database.path, id), query)
    return {row["ok"]["_rev"]: row["ok"] for row in rows if "ok" in row}


async def write_merge(
    database: Database, shown: JSONObject, others: Sequence[JSONObject], content: JSONObject | None, type_field: str
) -> None:
    """Store the merge of versions on top of the version ``shown``, and end the others.

    ``content`` is None if ``shown`` is the merge already. The revision is made of the versions and the content alone:
    two programs that write one merge write the same revision, which is no conflict.
    """
    documents, merge = [], shown["_rev"]
    if content is not None:
        members = {name: value for name, value in content.items() if name not in ("_id", "_rev")}
        # The ids are sorted, because each writer has read the versions in an order of its own.
        origin = [members, *sorted(each["_rev"] for each in (shown, *others))]
        documents.append(_successor(shown, origin, members))
        merge = documents[0]["_rev"]
    for each in others:
        # The tombstone keeps its type, so that feeds and guards know whose it is.
        kept = {name: value for name, value in each.items() if name == type_field}
        documents.append(_successor(each, [merge], {**kept, "_deleted": True, _MERGED_INTO: merge}))
    await _write_revisions(database, documents)


async def end_version(database: Database, version: JSONObject, type_field: str) -> None:
    """End a version whose changes are in no other one. The tombstone has a mark, since it is no deletion."""
    kept = {name: value for name, value in version.items() if name == type_field}
    await _write_revisions(database, [_successor(version, [], {**kept, "_deleted": True, _MERGED_INTO: None})])


async def _write_revisions(database: Database, documents: Sequence[JSONObject]) -> None:
    """Store revisions under ids that the client has chosen. A revision that others store meanwhile is no conflict."""
    # With new_edits=false CouchDB stores a revision beside others, and has rows only for those that it refuses.
    body = encode({"new_edits": False, "docs": documents})
    rows = await database.session.json(Request("POST", (*database.path, "_bulk_docs"), _WRITE_TO_ALL, body=body))
    for row in rows:
        if "error" in row:
            raise row_error(row, f"/{database.id}/{row.get('id')}")


def _successor(version: JSONObject, origin: Sequence[Any], members: Mapping[str, Any]) -> JSONObject:
    """Return the revision after a version, with an id that is made of its parent and its origin."""
    revisions = version["_revisions"]
    text = json.dumps([version["_rev"], *origin], sort_keys=True)
    # With new_edits=false CouchDB takes any id. This one has 32 hexadecimal digits as its own have, and needs no Erlang
    # terms.
    own = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    start = revisions["start"] + 1
    history = {"start": start, "ids": [own, *revisions["ids"]]}
    return {**members, "_id": version["_id"], "_rev": f"{start}-{own}", "_revisions": history}


def _path_of(leaf: JSONObject) -> list[str]:
    """Return a revision and its ancestors, newest first."""
    revisions = leaf["_revisions"]
    return [f"{revisions['start'] - n}-{id}" for n, id in enumerate(revisions["ids"])]


def _generation(rev: str) -> int:
    return int(rev.partition("-")[0])
