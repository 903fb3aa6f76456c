"""Models in applications of Starlette: routes of CRUD, and errors as problem details."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar, Unpack

from couchmodel._model.model import Connection, CouchModel
from couchmodel._model.store.binding import bound_server, using
from couchmodel._model.store.repository import Repository
from couchmodel.errors import ConfigurationError, CouchModelError
from couchmodel.integrations._core.lifespan import connected
from couchmodel.integrations._core.messages import JSON_TYPE, Answer, Call, content_encoding, unpack
from couchmodel.integrations._core.operations import (
    Operation,
    OperationName,
    ResourceOptions,
    make_operations,
    read_input,
)
from couchmodel.integrations._core.problems import PROBLEM_TYPE, ProblemError, broken_body, problem_of
from couchmodel.integrations._core.resource import check_found, find_document
from couchmodel.integrations._core.sessions import FromUser, connect_user, credentials_from
from couchmodel.integrations._core.shown.documents import show_json

try:
    from starlette.applications import Starlette
    from starlette.datastructures import Headers
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, HTTPConnection, Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as error:
    raise ImportError("couchmodel.integrations.starlette needs starlette: pip install starlette") from error

__all__ = [
    "UserSessions",
    "add_problem_details",
    "crud_routes",
    "found",
    "lifespan",
    "read_create",
    "read_patch",
    "respond",
    "session",
]

M = TypeVar("M", bound=CouchModel)

FindRepository = Callable[[Request], Repository[Any] | Awaitable[Repository[Any]]]
"""A function that returns the repository of a request, such as that of a tenant."""

_OF_USER: Final = "couchmodel_session"
_log: Final = logging.getLogger(__name__)


def lifespan(
    *models: type[CouchModel], url: str | None = None, freeze: bool = False, **options: Any
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return the lifespan of an application: it connects at the start, applies the models, and closes at the end.

    ``url`` and ``options`` are those of :func:`couchmodel.connect`. ``freeze=True`` excludes the objects that exist
    when the application has started from garbage collection (:func:`gc.freeze`), whose pauses grow with their number.
    """

    @asynccontextmanager
    async def run(app: Starlette) -> AsyncGenerator[None]:
        async with connected(models, url, options, freeze=freeze) as couch:
            app.state.couch = couch
            yield

    return run


def session(request: HTTPConnection) -> Connection:
    """Return the connection for a request: that of its user under :class:`UserSessions`, else the application's.

    Raises ConfigurationError if no connection is open.
    """
    of_user = request.scope.get("state", {}).get(_OF_USER)
    # A program may also connect by itself, without the lifespan.
    couch = of_user or getattr(request.app.state, "couch", None) or bound_server()
    if not isinstance(couch, Connection):
        raise ConfigurationError("no connection is open: give the application the lifespan of its models")
    return couch


# --- requests and responses


async def found(request: Request, model: type[M], *, if_match_required: bool = False) -> M:
    """Return the document of the ``id`` in the path.

    Raises HTTPException 404 if it does not exist, 304 if a read names its revision, 412 if a write does not name it,
    and 428 if a write has to name one.
    """
    try:
        document = await find_document(model.repository(), str(request.path_params["id"]))
        check_found(request.method, request.headers, document, if_match_required=if_match_required)
    except ProblemError as problem:
        raise HTTPProblem(problem) from None
    return document


async def read_create(request: Request, model: type[M]) -> M:
    """Return the new document that the body of a request describes. Raises HTTPException 400, 413, 415 or 422."""
    document: M = await _read(request, model, "create")
    return document


async def read_patch(request: Request, model: type[CouchModel]) -> Mapping[str, Any]:
    """Return the patch that the body of a request describes. Raises HTTPException 400, 413, 415 or 422."""
    patch: Mapping[str, Any] = await _read(request, model, "patch")
    return patch


async def _read(request: Request, model: type[CouchModel], kind: Any) -> Any:
    try:
        return await read_input(call_of(request), model, kind)
    except ProblemError as problem:
        raise HTTPProblem(problem) from None


def respond(document: CouchModel, status: int = 200) -> Response:
    """Return a document as clients see it, with its entity tag."""
    return response_of(Answer(status, show_json(document), {"etag": f'"{document.rev}"'}, JSON_TYPE))


def crud_routes(
    model: type[CouchModel],
    path: str,
    *,
    exclude: Collection[OperationName] = (),
    repository: FindRepository | None = None,
    **options: Unpack[ResourceOptions],
) -> list[Route]:
    """Return the routes that create, read, list, replace, change and delete documents, with their attachments.

    The options ``filters``, ``sorts``, ``size``, ``max_size``, ``exclude`` and ``if_match_required`` are those of
    :func:`couchmodel.integrations.fastapi.crud_router`. ``repository`` is a function of the request.
    """
    return [_route(path, each, model, repository) for each in make_operations(model, exclude, **options)]


def _route(path: str, operation: Operation, model: type[CouchModel], repository: FindRepository | None) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            target: Any = model.repository() if repository is None else repository(request)
            if isinstance(target, Awaitable):
                target = await target
            call, inputs = call_of(request), [request.path_params[name] for name in operation.parameters]
            if operation.body is not None:
                inputs.append(await read_input(call, model, operation.body))
            return response_of(await operation.run(call, target, *inputs))
        except (CouchModelError, ProblemError) as error:
            problem = problem_of(error)
            if problem is None or problem.status == 500:
                raise
            return problem_response(problem)

    return Route(
        f"{path}{operation.path}", endpoint, methods=[operation.method], name=f"{operation.name}_{model.__name__}"
    )


def call_of(request: Request) -> Call:
    """Return a request as the operations take it."""
    # Most requests have no query, and to parse none takes time, too.
    query = request.query_params.multi_items() if request.scope["query_string"] else ()
    return Call(request.method, request.scope["path"], request.headers, query, partial(_pieces_of, request))


async def _pieces_of(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in unpack(request.stream(), content_encoding(request.headers)):
            yield piece
    except ClientDisconnect:
        raise broken_body() from None


def response_of(answer: Answer) -> Response:
    """Return an answer as a response."""
    headers = dict(answer.headers)
    if answer.media_type is not None:  # as a header, since Starlette would add a charset to it
        headers["content-type"] = answer.media_type
    if not isinstance(answer.body, bytes):
        return StreamingResponse(answer.body, answer.status, headers)
    return Response(answer.body, answer.status, headers)


# --- errors


class HTTPProblem(HTTPException):
    """A problem that is answered by its status also in an application that has no problem details."""

    def __init__(self, problem: ProblemError) -> None:
        super().__init__(problem.status, problem.detail, problem.headers)
        self.problem = problem


def add_problem_details(app: Starlette) -> None:
    """Answer errors with problem details (RFC 9457): those of models and of the store, and those of the framework."""
    for kind in (CouchModelError, ProblemError):
        app.add_exception_handler(kind, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    # Starlette answers by this one and still raises the error, so that the server logs it.
    app.add_exception_handler(Exception, _answer_failure)


def problem_response(problem: ProblemError) -> Response:
    """Return a problem as a response."""
    if problem.status == 304:
        return Response(status_code=304, headers=problem.headers)
    return Response(problem.body(), problem.status, problem.headers, PROBLEM_TYPE)


async def _answer_error(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem is None:
        raise error
    if problem.status == 500:
        _log.error("%s %s has failed", request.method, request.scope["path"], exc_info=error)
    return problem_response(problem)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer an error of the framework, such as 404 for a path without a route."""
    if isinstance(error, HTTPProblem):
        return problem_response(error.problem)
    if not isinstance(error, HTTPException):
        raise error
    said: Any = error.detail
    members: dict[str, Any] = {} if isinstance(said, str) else {"reason": said}
    detail = said if isinstance(said, str) else ""
    return problem_response(ProblemError(error.status_code, detail, headers=error.headers, **members))


async def _answer_failure(request: Request, error: Exception) -> Response:
    """Answer an error of the application, of which the client is told nothing."""
    return problem_response(ProblemError(500, "The application has failed."))


# --- users


class UserSessions:
    """A middleware that lets each request speak to the store as the user who sent it.

    So the ``_security`` and the validation functions of a database apply to the users of the application. All models
    are bound to the connection of the user while a request is handled. ``from_user`` takes the headers of a request and
    returns those by which the store knows the user; the default passes the cookie ``AuthSession`` or the JSON Web Token
    on. A request without them is that of nobody.
    """

    def __init__(self, app: ASGIApp, *, from_user: FromUser = credentials_from) -> None:
        self._app = app
        self._from_user = from_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - of the protocol
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        # Under a second such middleware, ``session`` would return the connection of a user, which cannot speak as
        # another one.
        scope.setdefault("state", {}).pop(_OF_USER, None)
        couch = connect_user(session(HTTPConnection(scope)), self._from_user(Headers(scope=scope)))
        scope["state"][_OF_USER] = couch

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start" and couch.set_cookies:
                added = [(b"set-cookie", each.encode("latin-1")) for each in couch.set_cookies]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        with using(couch):
            await self._app(scope, receive, send_with_cookies)
