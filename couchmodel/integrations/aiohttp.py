"""Models in applications of aiohttp: routes of CRUD, and errors as problem details."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final, TypeVar, Unpack

from aiohttp import web

from couchmodel._model.model import Connection, CouchModel
from couchmodel._model.store.binding import using
from couchmodel._model.store.repository import Repository
from couchmodel.errors import CouchModelError
from couchmodel.integrations._core.lifespan import connected
from couchmodel.integrations._core.messages import JSON_TYPE, Answer, Call, content_encoding
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

__all__ = [
    "add_problem_details",
    "add_user_sessions",
    "crud_routes",
    "found",
    "lifespan",
    "read_create",
    "read_patch",
    "respond",
    "session",
]

M = TypeVar("M", bound=CouchModel)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
FindRepository = Callable[[web.Request], Repository[Any] | Awaitable[Repository[Any]]]
"""A function that returns the repository of a request, such as that of a tenant."""

COUCH: Final = web.AppKey("couch", Connection)

_OF_USER: Final = "couchmodel_session"
_PIECE_BYTES: Final = 64 * 1024
_log: Final = logging.getLogger(__name__)


def lifespan(
    *models: type[CouchModel], url: str | None = None, freeze: bool = False, **options: Any
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return a context for ``app.cleanup_ctx``: it connects at the start, applies the models, and closes at the end.

    ``url`` and ``options`` are those of :func:`couchmodel.connect`. ``freeze=True`` excludes the objects that exist
    when the application has started from garbage collection (:func:`gc.freeze`), whose pauses grow with their number.
    """

    async def run(app: web.Application) -> AsyncGenerator[None]:
        async with connected(models, url, options, freeze=freeze) as couch:
            app[COUCH] = couch
            yield

    return run


def session(request: web.Request) -> Connection:
    """Return the connection for a request: that of its user after :func:`add_user_sessions`, else the application's."""
    of_user: Connection | None = request.get(_OF_USER)
    return of_user or request.config_dict[COUCH]


# --- requests and responses


async def found(request: web.Request, model: type[M], *, if_match_required: bool = False) -> M:
    """Return the document of the ``id`` in the path.

    Raises ProblemError, which :func:`add_problem_details` answers: 404 if it does not exist, 304 if a read names its
    revision, 412 if a write does not name it, and 428 if a write has to name one.
    """
    document = await find_document(model.repository(), request.match_info["id"])
    check_found(request.method, request.headers, document, if_match_required=if_match_required)
    return document


async def read_create(request: web.Request, model: type[M]) -> M:
    """Return the new document that the body of a request describes. Raises ProblemError 400, 413, 415 or 422."""
    document: M = await read_input(_call_of(request), model, "create")
    return document


async def read_patch(request: web.Request, model: type[CouchModel]) -> Mapping[str, Any]:
    """Return the patch that the body of a request describes. Raises ProblemError 400, 413, 415 or 422."""
    patch: Mapping[str, Any] = await read_input(_call_of(request), model, "patch")
    return patch


def respond(document: CouchModel, status: int = 200) -> web.Response:
    """Return a document as clients see it, with its entity tag."""
    headers = {"etag": f'"{document.rev}"', "content-type": JSON_TYPE}
    return web.Response(body=show_json(document), status=status, headers=headers)


def crud_routes(
    model: type[CouchModel],
    path: str,
    *,
    exclude: Collection[OperationName] = (),
    repository: FindRepository | None = None,
    **options: Unpack[ResourceOptions],
) -> list[web.RouteDef]:
    """Return the routes that create, read, list, replace, change and delete documents, with their attachments.

    The options ``filters``, ``sorts``, ``size``, ``max_size``, ``exclude`` and ``if_match_required`` are those of
    :func:`couchmodel.integrations.fastapi.crud_router`. ``repository`` is a function of the request.
    """
    return [
        web.route(each.method, f"{path}{each.path}", _handler(each, model, repository))
        for each in make_operations(model, exclude, **options)
    ]


def _handler(operation: Operation, model: type[CouchModel], repository: FindRepository | None) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            # The repository is asked for in each request, since a user may have a connection of their own.
            target: Any = model.repository() if repository is None else repository(request)
            if isinstance(target, Awaitable):
                target = await target
            call, inputs = _call_of(request), [request.match_info[name] for name in operation.parameters]
            if operation.body is not None:
                inputs.append(await read_input(call, model, operation.body))
            return await _send(request, await operation.run(call, target, *inputs))
        except (CouchModelError, ProblemError) as error:
            return _answer_error(request, error)

    return handle


def _call_of(request: web.Request) -> Call:
    async def stream() -> AsyncIterator[bytes]:
        content_encoding(request.headers)  # aiohttp has unpacked what it knows, and leaves other bodies packed
        try:
            async for piece in request.content.iter_chunked(_PIECE_BYTES):
                yield piece
        except (web.RequestPayloadError, ConnectionResetError):
            raise broken_body() from None

    return Call(request.method, request.path, request.headers, list(request.query.items()), stream)


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    headers = dict(answer.headers)
    if answer.media_type is not None:
        headers["content-type"] = answer.media_type
    if isinstance(answer.body, bytes):
        if request.method != "HEAD":
            headers.pop("content-length", None)
        return web.Response(body=answer.body or None, status=answer.status, headers=headers)
    response = web.StreamResponse(status=answer.status, headers=headers)
    async with aclosing(answer.body) as pieces:
        await response.prepare(request)
        with suppress(ConnectionResetError):  # the client has gone
            async for piece in pieces:
                await response.write(piece)
            await response.write_eof()
    return response


# --- errors


def add_problem_details(app: web.Application) -> None:
    """Answer errors with problem details (RFC 9457): those of models and of the store, and those of aiohttp."""
    app.middlewares.append(_problem_details)


@web.middleware
async def _problem_details(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (CouchModelError, ProblemError) as error:
        return _answer_error(request, error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        # The others describe the body of aiohttp's own answer.
        kept = {name: value for name, value in error.headers.items() if name.lower() in ("allow", "www-authenticate")}
        return _respond_problem(ProblemError(error.status, f"{error.reason}.", headers=kept))
    except Exception as error:  # noqa: BLE001 - the client is told nothing of it
        _log.error("%s %s has failed", request.method, request.path, exc_info=error)
        return _respond_problem(ProblemError(500, "The application has failed."))


def _answer_error(request: web.Request, error: Exception) -> web.Response:
    problem = problem_of(error)
    if problem is None:
        raise error
    if problem.status == 500:
        _log.error("%s %s has failed", request.method, request.path, exc_info=error)
    return _respond_problem(problem)


def _respond_problem(problem: ProblemError) -> web.Response:
    # A 304 has no body, and so no type of one.
    if problem.status == 304:
        return web.Response(status=304, headers=problem.headers)
    return web.Response(
        body=problem.body(), status=problem.status, headers={**problem.headers, "content-type": PROBLEM_TYPE}
    )


# --- users


def add_user_sessions(app: web.Application, *, from_user: FromUser = credentials_from) -> None:
    """Let each request speak to the store as the user who sent it.

    So the ``_security`` and the validation functions of a database apply to the users of the application. All models
    are bound to the connection of the user while a request is handled. ``from_user`` takes the headers of a request and
    returns those by which the store knows the user; the default passes the cookie ``AuthSession`` or the JSON Web Token
    on. A request without them is that of nobody.
    """

    @web.middleware
    async def as_user(request: web.Request, handler: Handler) -> web.StreamResponse:
        couch = connect_user(request.config_dict[COUCH], from_user(request.headers))
        request[_OF_USER] = couch
        with using(couch):
            response = await handler(request)
        for cookie in couch.set_cookies:
            # The headers of a stream were sent before its end.
            if not response.prepared:
                response.headers.add("set-cookie", cookie)
        return response

    app.middlewares.append(as_user)
