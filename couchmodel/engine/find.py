"""Mango queries: ``_find`` and ``_explain``."""

from collections.abc import AsyncGenerator
from typing import Any, Final, cast

from couchmodel._wire.messages import Request, decode, encode
from couchmodel.engine.document import Document, Place
from couchmodel.engine.rows import Rows
from couchmodel.engine.session import Session
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["explain", "find_documents", "find_rows"]

_PAGE: Final = 10_000
"""How many rows a request of a paged read asks for. They are streamed, so this bounds no memory of ours."""

_BODY: Final = frozenset({"selector", "limit", "skip", "sort", "fields", "use_index", "bookmark", "execution_stats"})


async def find_rows(
    session: Session, database: tuple[str, ...], body: JSONObject, limit: int | None
) -> AsyncGenerator[list[bytes], None]:
    """The documents that ``_find`` answers, as JSON texts, page after page: all of them, or ``limit``."""
    body = dict(body)
    while limit is None or limit > 0:
        body["limit"] = _PAGE if limit is None else min(limit, _PAGE)
        rows = Rows(session, Request("POST", (*database, "_find"), body=encode(body)))
        count = 0
        async for batch in rows.batches():
            count += len(batch)
            yield batch
        if count < body["limit"] or "bookmark" not in rows.members:
            return
        # CouchDB would skip again on every page.
        body["skip"], body["bookmark"] = 0, rows.members["bookmark"]
        limit = None if limit is None else limit - count


async def find_documents(
    database: Place, scope: tuple[str, ...], selector: JSONObject, limit: int | None, params: JSONObject
) -> AsyncGenerator[Document, None]:
    """The documents of a database that a selector matches; ``scope`` is its path, or a partition's."""
    if "fields" in params:
        raise QueryError("a document cannot be made of some fields only: leave fields out")
    _check(selector)
    async for batch in find_rows(database.session, scope, {"selector": selector, **params}, limit):
        for row in batch:
            yield Document.read(database, row, decode(row))


async def explain(session: Session, scope: tuple[str, ...], selector: JSONObject, params: JSONObject) -> JSONObject:
    """How a query would be answered: ``index``, ``covering``, and the query as CouchDB reads it."""
    _check(selector)
    body = encode({"selector": selector, **params})
    return cast(JSONObject, await session.json(Request("POST", (*scope, "_explain"), body=body)))


def _check(selector: Any) -> None:
    if not isinstance(selector, dict):
        raise QueryError(f"a selector is a dictionary such as {{'rating': 5}}, not {type(selector).__name__}")
    # A whole body of _find in place of the selector would match nothing, and say nothing.
    if isinstance(selector.get("selector"), dict) and selector.keys() <= _BODY:
        raise QueryError(
            "give the selector itself, without {'selector': …} around it; "
            "for a member that is called selector, write {'$and': [{'selector': …}]}"
        )
