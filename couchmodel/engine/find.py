"""Mango queries: ``_find`` and ``_explain``."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, cast

from couchmodel._wire.messages import Request, decode, encode
from couchmodel.engine._io.rows import Rows
from couchmodel.engine._io.session import Session
from couchmodel.engine.document import DatabaseAddress, Document
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["Find", "explain", "find_rows"]

_NO_LIMIT: Final = 268_435_456
"""The ``limit`` that is sent when there is none: the most rows that CouchDB puts in one answer (``query_limit``)."""

_BODY_MEMBERS: Final = frozenset(
    {"selector", "limit", "skip", "sort", "fields", "use_index", "bookmark", "execution_stats"}
)


async def find_rows(
    session: Session,
    database: tuple[str, ...],
    body: JSONObject,
    limit: int | None,
    on_end: Callable[[JSONObject], None] | None = None,
) -> AsyncGenerator[list[bytes], None]:
    """Yield the documents that ``_find`` returns, as JSON texts in batches as they arrive: all, or at most ``limit``.

    One request asks for all of them. The rows are streamed, so their number costs no memory. Paging by CouchDB's
    bookmark would lose a row wherever the last row of a page was deleted or moved before the next page: the bookmark
    is the key of that row and ``skip=1`` (``mango_json_bookmark.erl``).

    ``on_end`` is called at the end with the members of the answer other than its documents.
    """
    if limit == 0:  # there is nothing to ask for
        return
    # Without a limit CouchDB would end the answer after 25 documents.
    body = {**body, "limit": _NO_LIMIT if limit is None else limit}
    rows = Rows(session, Request("POST", (*database, "_find"), body=encode(body)))
    async with aclosing(rows.batches()) as batches:
        async for batch in batches:
            yield batch
    if on_end is not None:
        on_end(rows.members)


class Find:
    """An asynchronous iterator over the documents that a query matches. The first :func:`anext` sends the query.

    These attributes are None until the iteration has ended:

    * ``warning`` is CouchDB's warning about a query that no index serves;
    * ``execution_stats`` has CouchDB's counts for the query, if ``execution_stats=True`` was given;
    * ``bookmark`` is the place where another query can go on, if it is given there as ``bookmark=``. ``selector``,
      ``sort`` and ``use_index`` of the other query must be the same. A bookmark names the last row, and CouchDB goes on
      one row after it, so a row is lost if the last row was deleted or moved meanwhile.
    """

    def __init__(
        self,
        database: DatabaseAddress,
        scope: tuple[str, ...],
        selector: JSONObject,
        limit: int | None,
        params: JSONObject,
    ) -> None:
        """``scope`` is the path of the database or of a partition.

        Raises QueryError if ``fields`` is given or if ``selector`` is not a selector.
        """
        if "fields" in params:
            raise QueryError("a document cannot be made of some fields only: leave fields out")
        _check_selector(selector)
        body = {"selector": selector, **params}
        # The generators do not refer to this object, so that it is no cycle. Python's garbage collector would end the
        # generators of a cycle in any thread, while the event loop ends them, too.
        self._members: JSONObject = {}
        self._documents = _read(database, find_rows(database.session, scope, body, limit, self._members.update))

    @property
    def warning(self) -> str | None:
        """CouchDB's warning."""
        return self._members.get("warning")

    @property
    def bookmark(self) -> str | None:
        """The place where another query can go on."""
        return self._members.get("bookmark")

    @property
    def execution_stats(self) -> dict[str, float] | None:
        """CouchDB's counts."""
        return self._members.get("execution_stats")

    def __aiter__(self) -> AsyncIterator[Document]:
        return self._documents

    async def __anext__(self) -> Document:
        """Return the next document. Raises BadRequestError, NotFoundError, TransportError."""
        return await anext(self._documents)

    async def aclose(self) -> None:
        """End the iteration and release its connection. Closing twice is harmless."""
        await self._documents.aclose()


async def _read(
    database: DatabaseAddress, batches: AsyncGenerator[list[bytes], None]
) -> AsyncGenerator[Document, None]:
    async with aclosing(batches):
        async for batch in batches:
            for row in batch:
                yield Document.from_json(database, row, decode(row))


async def explain(session: Session, scope: tuple[str, ...], selector: JSONObject, params: JSONObject) -> JSONObject:
    """Return how CouchDB would answer a query: ``index``, ``covering``, and the query as CouchDB reads it."""
    _check_selector(selector)
    body = encode({"selector": selector, **params})
    return cast(JSONObject, await session.json(Request("POST", (*scope, "_explain"), body=body)))


def _check_selector(selector: Any) -> None:
    if not isinstance(selector, dict):
        raise QueryError(f"a selector is a dictionary such as {{'rating': 5}}, not {type(selector).__name__}")
    # A whole body of _find in place of the selector would match nothing, without an error.
    if isinstance(selector.get("selector"), dict) and selector.keys() <= _BODY_MEMBERS:
        raise QueryError(
            "give the selector itself, without {'selector': …} around it; "
            "for a member that is called selector, write {'$and': [{'selector': …}]}"
        )
