"""Errors as problem details, for a whole application and for a router."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from couchmodel.errors import CouchModelError
from couchmodel.integrations._core.members import decode_input
from couchmodel.integrations._core.messages import MERGE_PATCH_TYPE, read_json_body
from couchmodel.integrations._core.problems import ProblemError, field_errors, invalid, problem_of
from couchmodel.integrations.starlette import add_problem_details as add_starlette_details
from couchmodel.integrations.starlette import call_of, problem_response

__all__ = ["ProblemRoute", "add_problem_details"]


def add_problem_details(app: FastAPI) -> None:
    """Answer errors with problem details (RFC 9457): those of models and of the store, and those of FastAPI."""
    add_starlette_details(app)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return problem_response(_validation_problem(error))


def _validation_problem(error: RequestValidationError) -> ProblemError:
    errors = error.errors()
    # FastAPI answers 422 for text that is no JSON. Here it is 400, as with the other frameworks.
    if any(each["type"] == "json_invalid" for each in errors):
        return ProblemError(400, "The body is not JSON.")
    return invalid(field_errors(errors))


class ProblemRoute(APIRoute):
    """A route whose errors are answered with problem details, whether or not the application does that."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return FastAPI's handler of the route, with its errors as responses."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                if self.body_field is not None:  # FastAPI would read a body of any size
                    body = await read_json_body(call_of(request), MERGE_PATCH_TYPE)
                    # Starlette keeps a body that was read under this name, and FastAPI asks for it again.
                    vars(request)["_body"] = body
                    if body:  # Python's parser takes what cannot be stored: texts that are no Unicode, and any depth
                        vars(request)["_json"] = decode_input(body)
                response: Response = await handler(request)
            except RequestValidationError as error:
                return problem_response(_validation_problem(error))
            except (CouchModelError, ProblemError) as error:
                problem = problem_of(error)
                # A failure goes to the handlers of the application, which log it.
                if problem is None or problem.status == 500:
                    raise
                return problem_response(problem)
            return response

        return handle
