"""Models in applications of Starlette."""

import gc
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from couchmodel._model.model import CouchModel, connect
from couchmodel.errors import CouchModelError
from couchmodel.integrations._core.messages import Answer, Call
from couchmodel.integrations._core.problems import PROBLEM_TYPE, ProblemError, problem_of

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
except ImportError as error:
    raise ImportError("couchmodel.integrations.starlette needs starlette: pip install starlette") from error

__all__ = ["add_problem_details", "lifespan"]

_log = logging.getLogger(__name__)


def lifespan(
    *models: type[CouchModel], url: str | None = None, freeze: bool = False, **options: Any
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return the lifespan of an application: it connects at the start, applies the models, and closes at the end.

    ``url`` and ``options`` are those of :func:`couchmodel.connect`. ``freeze=True`` excludes the objects that exist
    when the application has started from garbage collection (:func:`gc.freeze`), whose pauses grow with their number.
    """

    @asynccontextmanager
    async def run(app: Starlette) -> AsyncGenerator[None]:
        async with connect(url, **options) as couch:
            app.state.couch = couch
            await couch.apply(*models)
            if freeze:
                gc.collect()
                gc.freeze()
            try:
                yield
            finally:
                if freeze:
                    gc.unfreeze()

    return run


def add_problem_details(app: Starlette) -> None:
    """Answer errors with problem details (RFC 9457): those of models and of the store, and those of the framework."""
    for kind in (CouchModelError, ProblemError):
        app.add_exception_handler(kind, answer_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(Exception, answer_failure)


class HTTPProblem(HTTPException):
    """A problem that is answered by its status also in an application that has no problem details."""

    def __init__(self, problem: ProblemError) -> None:
        super().__init__(problem.status, problem.detail, problem.headers)
        self.problem = problem


def call_of(request: Request) -> Call:
    """Return a request as the operations take it."""
    query = request.query_params.multi_items() if request.scope["query_string"] else ()
    return Call(request.method, request.scope["path"], request.headers, query, request.stream)


def response_of(answer: Answer) -> Response:
    """Return an answer as a response."""
    headers = dict(answer.headers)
    if answer.media_type is not None:  # as a header, since Starlette would add a charset to it
        headers["content-type"] = answer.media_type
    if not isinstance(answer.body, bytes):
        return StreamingResponse(answer.body, answer.status, headers)
    return Response(answer.body, answer.status, headers)


def problem_response(problem: ProblemError) -> Response:
    """Return a problem as a response."""
    if problem.status == 304:
        return Response(status_code=304, headers=problem.headers)
    return Response(problem.body(), problem.status, problem.headers, PROBLEM_TYPE)


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error of a model or of the store."""
    problem = problem_of(error)
    if problem is None:
        raise error
    if problem.status == 500:
        _log.error("%s %s has failed", request.method, request.scope["path"], exc_info=error)
    return problem_response(problem)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer an error of the framework, such as 404 for a path without a route."""
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error, HTTPProblem):
        return problem_response(error.problem)
    said = error.detail if isinstance(error.detail, str) else ""
    members: dict[str, Any] = {} if isinstance(error.detail, str) else {"reason": error.detail}
    return problem_response(ProblemError(error.status_code, said, headers=error.headers, **members))


async def answer_failure(request: Request, error: Exception) -> Response:
    """Answer an error of the application, of which the client is told nothing."""
    return problem_response(ProblemError(500, "The application has failed."))
