"""Mango queries: ``_find`` and ``_explain``."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, cast

from couchmodel._wire.messages import Request, decode, encode
from couchmodel.engine._io.rows import Rows
from couchmodel.engine._io.session import Session
from couchmodel.engine.document import Document, Place
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["Find", "explain", "find_rows"]

_ALL: Final = 268_435_456
"""A limit that is none: a view of CouchDB has no more rows in one answer (``query_limit``)."""

_BODY: Final = frozenset({"selector", "limit", "skip", "sort", "fields", "use_index", "bookmark", "execution_stats"})


async def find_rows(
    session: Session,
    database: tuple[str, ...],
    body: JSONObject,
    limit: int | None,
    tell: Callable[[JSONObject], None] | None = None,
) -> AsyncGenerator[list[bytes], None]:
    """The documents that ``_find`` answers, as JSON texts, as many at a time as arrive together: all, or ``limit``.

    One request asks for all of them. The rows are streamed, so their number costs no memory. A page that went on by
    CouchDB's bookmark would lose a row wherever the last row of the page before was deleted or moved meanwhile: the
    bookmark is the key of that row and ``skip=1`` (``mango_json_bookmark.erl``).

    ``tell`` is called at the end with what the answer says beside its documents.
    """
    if limit == 0:
        return
    body = {**body, "limit": _ALL if limit is None else limit}
    rows = Rows(session, Request("POST", (*database, "_find"), body=encode(body)))
    async with aclosing(rows.batches()) as batches:
        async for batch in batches:
            yield batch
    if tell is not None:
        tell(rows.members)


class Find:
    """The documents that a query matches, an asynchronous iterator; :func:`anext` and ``async for`` send it.

    ``warning`` is what CouchDB says of a query that no index serves; ``execution_stats`` are counts, where
    ``execution_stats=True`` asks for them. ``bookmark`` is where another query may go on, given as ``bookmark=``. It
    belongs to its query: ``selector``, ``sort`` and ``use_index`` must be the same. It names the last row, and CouchDB
    skips one row from there on, so a row is lost where the last one was deleted or moved meanwhile. They are None
    before the end.
    """

    def __init__(
        self, database: Place, scope: tuple[str, ...], selector: JSONObject, limit: int | None, params: JSONObject
    ) -> None:
        """``scope`` is the path of the database, or of a partition. Raises QueryError."""
        if "fields" in params:
            raise QueryError("a document cannot be made of some fields only: leave fields out")
        _check(selector)
        self.warning: str | None = None
        self.bookmark: str | None = None
        self.execution_stats: dict[str, float] | None = None
        self._database = database
        body = {"selector": selector, **params}
        self._documents = self._read(find_rows(database.session, scope, body, limit, self._learn))

    def __aiter__(self) -> AsyncIterator[Document]:
        return self._documents

    async def __anext__(self) -> Document:
        """The next document. Raises BadRequestError, NotFoundError; TransportError."""
        return await anext(self._documents)

    async def aclose(self) -> None:
        """End it, and give its connection up. Closing twice is harmless."""
        await self._documents.aclose()

    async def _read(self, batches: AsyncGenerator[list[bytes], None]) -> AsyncGenerator[Document, None]:
        async with aclosing(batches):
            async for batch in batches:
                for row in batch:
                    yield Document.read(self._database, row, decode(row))

    def _learn(self, members: JSONObject) -> None:
        self.warning = members.get("warning")
        self.bookmark = members.get("bookmark")
        self.execution_stats = members.get("execution_stats")


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
