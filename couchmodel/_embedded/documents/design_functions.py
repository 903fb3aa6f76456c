"""Open and call functions of design documents by name, and write the request object that they get.

These are the filter, update and map functions that a request names. Validation functions are in ``verdicts``.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from couchmodel._embedded.documents.reader import document_json, find_winner, require_living
from couchmodel._embedded.javascript.design_schema import JAVASCRIPT, language_of
from couchmodel._embedded.javascript.engine import BatchedCalls, Context, parse_result
from couchmodel._embedded.javascript.turns import run
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import Request, decode, encode, request_target
from couchmodel.errors import NotFoundError, ResponseError, ServerError

__all__ = ["Function", "FunctionFilter", "open_function", "request_object"]

FORM: Final = "application/x-www-form-urlencoded"
"""The content type of a body that functions get parsed, as ``req.form``."""

SECRET: Final = frozenset(("authorization", "cookie", "x-auth-couchdb-token"))
"""Headers that functions do not get. The author of a function could use them to act as the user of the request."""

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
            error.status = STATUSES.get(error.code, error.status if isinstance(error, ServerError) else 500)
            raise


def open_function(database: Database, design: str, path: tuple[str, ...], connection: Connection) -> Function:
    """Return the function at a path in a design document.

    Raises:
        NotFoundError: the design document, or the member at the path, does not exist.
        ServerError: the language of the design document is not JavaScript.
        UnsupportedError: the extra ``js`` is not installed.
    """
    id = f"_design/{design}"
    found = require_living(find_winner(database.number, id, connection))
    body = decode(found.body)
    member: Any = body
    for name in path:
        if not isinstance(member, dict) or name not in member:
            raise NotFoundError(f"missing json key: {name}")
        member = member[name]
    if language_of(body) != JAVASCRIPT:
        raise ServerError(language_of(body), code="unknown_query_language")
    return Function(path, database.scripts.open(path, document_json(id, found)))


class FunctionFilter:
    """A filter of changes by a filter function, or by a map function: it passes a document for which it emits a row."""

    def __init__(self, function: Function, request: bytes) -> None:
        self._function = function
        self._request = request
        self._responder = "filterView" if function.path[0] == "views" else "filter"
        self._batched_calls = BatchedCalls(self._ask)

    async def match_documents(self, documents: Sequence[bytes]) -> list[bool]:
        """Return, for each document (JSON), whether it passes. Raises ResponseError if the function fails."""
        if not documents:
            return []
        return await run(self._function.context.scripts, partial(self._batched_calls.results, documents))

    def _ask(self, documents: Sequence[bytes], seconds: float | None) -> list[bool]:
        text = b"[%b]" % b",".join(documents)
        passing: list[bool] = self._function.call(self._responder, text, self._request, seconds=seconds)
        return passing


def request_object(
    store: Store, database: Database, request: Request, body: object, info: Mapping[str, Any], id: str | None = None
) -> bytes:
    """Return the request object ``req`` of a function, as JSON.

    ``info`` is the description of the database, ``id`` the document of the request. ``body`` is the body of the
    request as text, or its decoded value.
    """
    context = {"db": database.name, "name": request.user.name, "roles": list(request.user.roles)}
    members = {
        "info": info,
        "uuid": store.uuids.next(),
        "id": id,
        "method": "GET" if request.method == "HEAD" else request.method,
        "requested_path": request.path,
        "path": request.path,
        "raw_path": request_target(request.path, request.query),
        "query": dict(request.query),
        "headers": {name.title(): value for name, value in request.headers.items() if name not in SECRET},
        "body": body,
        "peer": request.peer or "127.0.0.1",  # a request from the same process has no peer
        "form": _form(request, body),
        "cookie": {},
        "userCtx": context,
        "secObj": database.security.document,
    }
    return encode(members)


def _form(request: Request, body: object) -> dict[str, str]:
    """Return the fields of an HTML form, empty for other bodies."""
    if not isinstance(body, str) or not request.headers.get("content-type", "").startswith(FORM):
        return {}
    return dict(parse_qsl(body, keep_blank_values=True))
