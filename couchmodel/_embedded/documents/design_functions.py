"""Open and call functions of design documents by name.

These are the filter, update and map functions that a request names. Validation functions are in ``verdicts``.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from couchmodel._embedded.documents.reader import document_json, find_winner, require_living
from couchmodel._embedded.javascript.design_schema import JAVASCRIPT, language_of
from couchmodel._embedded.javascript.engine import BatchedCalls, Context, parse_result
from couchmodel._embedded.javascript.turns import run
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import NotFoundError, ResponseError, ServerError

__all__ = ["Function", "FunctionFilter", "open_function"]

STATUSES: Final = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "conflict": 409,
}
"""The status for each error code that a function may throw. All other codes are answered with 500."""


class Function(NamedTuple):
    """A function of a design document: its path in the document, and the JavaScript context in which it runs."""

    path: tuple[str, ...]
    context: Context

    def call(self, responder: str, *arguments: bytes, seconds: float | None = None) -> Any:
        """Call the function by a responder of ``scripts.js``, and return the decoded answer.

        ``arguments`` are JSON. ``seconds`` is the processor time that the call may take.

        Raises:
            ResponseError: the function throws, fails, or takes too long.
            UnsupportedError: the extra ``js`` is not installed.
        """
        text = b"[%b]" % b",".join((encode(self.path), *arguments))
        try:
            return parse_result(self.context.run("call", responder.encode(), text, seconds=seconds))
        except ResponseError as error:
            # The code that a function throws decides, whatever status the engine gave its error.
            error.status = STATUSES.get(error.code, error.status if isinstance(error, ServerError) else 500)
            raise


def open_function(connection: Connection, database: Database, design: str, path: tuple[str, ...]) -> Function:
    """Return the function at a path in a design document.

    Raises:
        NotFoundError: the design document, or the member at the path, does not exist.
        ServerError: the language of the design document is not JavaScript.
        UnsupportedError: the extra ``js`` is not installed.
    """
    id = f"_design/{design}"
    found = require_living(find_winner(connection, database.number, id))
    body = decode(found.body)
    member: Any = body
    for name in path:
        if not isinstance(member, dict) or name not in member:
            raise NotFoundError(f"missing json key: {name}")
        member = member[name]
    if language_of(body) != JAVASCRIPT:
        raise ServerError(language_of(body), code="unknown_query_language")
    # The whole document, since a function may `require` modules that are in it.
    return Function(path, database.scripts.open(path, document_json(id, found)))


class FunctionFilter:
    """A filter of changes by a filter function, or by a map function: it passes a document for which it emits a row."""

    def __init__(self, function: Function, request: bytes) -> None:
        self._function = function
        self._request = request
        self._responder = "filterView" if function.path[0] == "views" else "filter"
        self._batched_calls = BatchedCalls()

    async def match_documents(self, documents: Sequence[bytes]) -> list[bool]:
        """Return, for each document (JSON), whether it passes. Raises ResponseError if the function fails."""
        if not documents:
            return []
        call = partial(self._batched_calls.results, documents, self._ask)
        return await run(self._function.context.scripts, call)

    def _ask(self, documents: Sequence[bytes], seconds: float | None) -> list[bool]:
        text = b"[%b]" % b",".join(documents)
        passing: list[bool] = self._function.call(self._responder, text, self._request, seconds=seconds)
        return passing
