"""Queries and views: both have all documents of the client, whatever others do to the indexes meanwhile."""

import random
from typing import Any

from tests.workload.client import Client
from tests.workload.problems import WrongError

__all__ = ["DECLARED", "SCRIPTED", "find", "make_index", "read_view", "reduce_view", "rewrite_view", "views"]

DECLARED = "declared"
"""A design document whose view needs no JavaScript."""

SCRIPTED = "scripted"
"""A design document whose views are functions."""

_VIEW = "by-owner"
_VERSIONS = 5
_INDEXES = (["owner", "n"], ["n", "owner"], ["n"], ["owner"])


def views(name: str, version: int) -> dict[str, Any]:
    """Return a version of a design document's views. All of them have the same rows in the view that is asked."""
    if name == DECLARED:
        view: dict[str, Any] = {"map": {"fields": {"owner": "asc", "n": "asc"}}, "reduce": "_count"}
        other = {"map": {"fields": {"n": "asc"}}, "options": {"def": {"fields": ["n"]}}}
        return {"language": "query", "views": {_VIEW: view, f"other-{version}": other}}
    map = f"function (doc) {{ if (doc.owner) emit([doc.owner, doc.n], {version}); }}"
    count = "function (keys, values, again) { return again ? sum(values) : values.length; }"
    filters = {"mine": "function (doc, req) { return doc.owner == req.query.owner; }"}
    updates = {"replace": "function (doc, req) { return [JSON.parse(req.body), 'done']; }"}
    reduce = random.choice((count, "_count"))
    return {"views": {_VIEW: {"map": map, "reduce": reduce}}, "filters": filters, "updates": updates}


async def find(client: Client) -> None:
    """Find the client's documents."""
    database = random.choice(client.kept).database
    selector = random.choice(({"owner": client.name}, {"owner": client.name, "n": {"$gt": 0}}))
    # A conflict that loses is found by nobody.
    asked: dict[str, Any] = {"selector": selector, "limit": 1000}
    if random.random() < 0.5:
        asked["fields"] = ["_id", "n"]
    documents = (await client.ask("POST", database, "_find", body=asked)).json()["docs"]
    client.compare(database, {found["_id"]: found["n"] for found in documents}, "_find")


async def make_index(client: Client) -> None:
    """Make an index, or drop it; others may have done so."""
    database, number = random.choice(client.place.shared), random.randrange(len(_INDEXES))
    name = f"index-{number}"
    if random.random() < 0.7:
        body = {"index": {"fields": _INDEXES[number]}, "ddoc": name, "name": name}
        # Where several do so at once, all but one are in conflict.
        await client.ask("POST", database, "_index", body=body, expected=(200, 409))
    else:
        await client.ask("DELETE", database, "_index", name, "json", name, expected=(200, 404, 409))


async def read_view(client: Client) -> None:
    """Read the rows of the client's documents in a view."""
    database = random.choice(client.kept).database
    more: dict[str, str] = random.choice(({}, {"include_docs": "true"}, {"descending": "true"}))
    edges = ["startkey", "endkey"] if "descending" not in more else ["endkey", "startkey"]
    query = dict(zip(edges, (f'["{client.name}"]', f'["{client.name}",{{}}]'), strict=True))
    answer = await client.ask("GET", *_view(client, database), query={"reduce": "false", **query, **more})
    rows = answer.json()["rows"]
    client.compare(database, {row["id"]: row["key"][1] for row in rows}, "a view")


async def reduce_view(client: Client) -> None:
    """Count the client's documents by a view."""
    database = random.choice(client.kept).database
    query = {"startkey": f'["{client.name}"]', "endkey": f'["{client.name}",{{}}]', "group_level": "1"}
    rows = (await client.ask("GET", *_view(client, database), query=query)).json()["rows"]
    counted = rows[0]["value"] if rows else 0
    possible = [{state is not None for state in kept.possible} for kept in client.kept if kept.database == database]
    least, most = (sum(choose(each) for each in possible) for choose in (min, max))
    if not least <= counted <= most:
        raise WrongError("a reduced view is not up to date", f"{counted} is not from {least} to {most}: {rows}")


async def rewrite_view(client: Client) -> None:
    """Write another version of a design document; others may do so, too."""
    name = _name(client)
    path = random.choice(client.place.shared), "_design", name
    rev = (await client.ask("GET", *path)).json()["_rev"]
    body = {"_rev": rev, **views(name, random.randrange(_VERSIONS))}
    await client.ask("PUT", *path, body=body, expected=(201, 409))


def _view(client: Client, database: str) -> tuple[str, ...]:
    return database, "_design", _name(client), "_view", _VIEW


def _name(client: Client) -> str:
    return random.choice((DECLARED, SCRIPTED)) if client.place.has_scripts else DECLARED
