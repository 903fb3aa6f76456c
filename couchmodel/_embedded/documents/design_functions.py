"""Functions of design documents that are asked for by name, and what they are told of a request."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from couchmodel._embedded.documents.reader import document_json, living, winner
from couchmodel._embedded.javascript.design_schema import JAVASCRIPT, language_of
from couchmodel._embedded.javascript.engine import Context, Together, parsed
from couchmodel._embedded.javascript.turns import run
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import Request, decode, encode, target
from couchmodel.errors import NotFoundError, ResponseError, ServerError

__all__ = ["Function", "FunctionFilter", "open_function", "seen"]

FORM: Final = "application/x-www-form-urlencoded"

SECRET: Final = frozenset(("authorization", "cookie", "x-auth-couchdb-token"))
"""Headers that functions are not told, and so no cookies: with them their author could be somebody else."""

STATUSES: Final = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "conflict": 409,
}
"""What a function may throw an error of; every other is the server's."""


class Function(NamedTuple):
    """A function of a design document, and the place where it runs."""

    path: tuple[str, ...]
    context: Context

    def call(self, responder: str, *arguments: bytes, seconds: float | None = None) -> Any:
        """What a responder of ``scripts.js`` makes of it. Raises ResponseError, and UnsupportedError without ``js``."""
        text = b"[%b]" % b",".join((encode(self.path), *arguments))
        try:
            return parsed(self.context.ask("call", responder.encode(), text, seconds=seconds))
        except ResponseError as error:
            error.status = STATUSES.get(error.code, error.status if isinstance(error, ServerError) else 500)
            raise


def open_function(database: Database, design: str, path: tuple[str, ...], connection: Connection) -> Function:
    """A function by its path in a design document.

    Raises:
        NotFoundError: there is no such design document, or no such member in it.
        ServerError: its language is not JavaScript.
        UnsupportedError: the extra ``js`` is not installed.
    """
    id = f"_design/{design}"
    found = living(winner(database.number, id, connection))
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
    """A filter of changes: a filter function, or a map function, which lets pass what it emits anything for."""

    def __init__(self, function: Function, request: bytes) -> None:
        self._function = function
        self._request = request
        self._responder = "filterView" if function.path[0] == "views" else "filter"
        self._together = Together(self._ask)

    async def passing(self, documents: Sequence[bytes]) -> list[bool]:
        """Which of the documents pass. Raises ResponseError."""
        if not documents:
            return []
        return await run(self._function.context.scripts, partial(self._together.ask, documents))

    def _ask(self, documents: Sequence[bytes], seconds: float | None) -> list[bool]:
        text = b"[%b]" % b",".join(documents)
        passing: list[bool] = self._function.call(self._responder, text, self._request, seconds=seconds)
        return passing


def seen(
    store: Store, database: Database, request: Request, body: object, info: Mapping[str, Any], id: str | None = None
) -> bytes:
    """A request as functions see it, as JSON. ``body`` is what has arrived, or what it means."""
    context = {"db": database.name, "name": request.user.name, "roles": list(request.user.roles)}
    told = {
        "info": info,
        "uuid": store.uuids.next(),
        "id": id,
        "method": "GET" if request.method == "HEAD" else request.method,
        "requested_path": request.path,
        "path": request.path,
        "raw_path": target(request.path, request.query),
        "query": dict(request.query),
        "headers": {name.title(): value for name, value in request.headers.items() if name not in SECRET},
        "body": body,
        "peer": request.peer or "127.0.0.1",
        "form": _form(request, body),
        "cookie": {},
        "userCtx": context,
        "secObj": database.security.document,
    }
    return encode(told)


def _form(request: Request, body: object) -> dict[str, str]:
    if not isinstance(body, str) or not request.headers.get("content-type", "").startswith(FORM):
        return {}
    return dict(parse_qsl(body, keep_blank_values=True))
