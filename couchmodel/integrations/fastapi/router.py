"""The router that creates, reads, lists, changes and deletes the documents of a model."""

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.params import Depends as Dependency

from couchmodel._model.model import CouchModel
from couchmodel._model.schema.annotations import holds_several
from couchmodel._model.schema.attachments import attachment_fields
from couchmodel.integrations._core import openapi
from couchmodel.integrations._core.faces import page_of
from couchmodel.integrations._core.filters import list_options
from couchmodel.integrations._core.messages import Answer, Call
from couchmodel.integrations._core.problems import Problem
from couchmodel.integrations._core.resource import Resource
from couchmodel.integrations.fastapi.errors import ProblemRoute
from couchmodel.integrations.fastapi.faces import Create, Patch, Read, ReplaceSchema
from couchmodel.integrations.starlette import call_of, response_of

__all__ = ["Operation", "crud_router"]

Operation = Literal[
    "create", "list", "read", "replace", "patch", "delete", "upload", "download", "delete_attachment", "changes"
]
"""A route of :func:`crud_router`."""


class _ProblemContent(dict[str, Any]):
    """The ``content`` of a response. FastAPI puts the schema of a model under its own media type, which is another."""

    def setdefault(self, key: str, default: Any = None) -> Any:
        return super().setdefault("application/problem+json", default)


def crud_router(
    model: type[CouchModel],
    *,
    filters: Iterable[str] | None = None,
    sorts: Iterable[str] | None = None,
    size: int = 20,
    max_size: int = 100,
    exclude: Collection[Operation] = (),
    guards: Mapping[Operation, Sequence[Dependency]] | None = None,
    repository: Callable[..., Any] | None = None,
    if_match_required: bool = False,
    **options: Any,
) -> APIRouter:
    """Return a router that creates, reads, lists, replaces, changes and deletes documents, with their attachments.

    ``filters`` and ``sorts`` are the fields by which the list can be narrowed and sorted; the default is those that an
    index leads with. ``size`` is the number of items on a page, and ``max_size`` the largest that a client gets.
    Operations in ``exclude`` are left out, to be missing or to be replaced by a route of your own. ``guards`` are
    dependencies of single operations. ``options`` are those of FastAPI's ``APIRouter``, such as ``dependencies``.
    ``repository`` is a dependency that returns the repository of a request, such as that of a tenant. With
    ``if_match_required``, a write without ``If-Match`` is answered with 428.

    Raises ConfigurationError for a field that does not exist or that clients may not read.
    """
    resource = Resource(model, list_options(model, filters, sorts, size, max_size), if_match_required=if_match_required)
    router = APIRouter(route_class=ProblemRoute, **options)
    routes = _Routes(router, resource, repository, guards or {}, if_match_required=if_match_required)
    for route in _routes_of(resource):
        if route.operation not in exclude:
            routes.add(route)
    return router


@dataclass(frozen=True, slots=True)
class _Route:
    """One route of a router: what it does, and what describes it."""

    operation: Operation
    method: str
    path: str
    summary: str
    run: Callable[..., Awaitable[Answer]]
    status: int = 200
    answer: Any = None
    body: Any = None
    attachment: str | None = None


def _routes_of(resource: Resource[Any]) -> Iterator[_Route]:
    model: Any = resource.model
    name, one = model.__name__, "/{id}"
    faces: Any = Read, Create, Patch
    read, create, patch = (face[model] for face in faces)
    replace = Annotated[Any, ReplaceSchema(model), Body()]
    yield _Route("create", "POST", "", f"Create a {name}", resource.create, 201, read, create)
    yield _Route("list", "GET", "", f"List documents of {name}", resource.list, 200, page_of(model))
    yield _Route("read", "GET", one, f"Read a {name}", resource.read, 200, read)
    yield _Route("replace", "PUT", one, f"Replace a {name}", resource.replace, 200, read, replace)
    yield _Route("patch", "PATCH", one, f"Change a {name}", resource.patch, 200, read, patch)
    yield _Route("delete", "DELETE", one, f"Delete a {name}", resource.delete, 204)
    for each in attachment_fields(model):
        several = holds_several(model.__pydantic_fields__[each].annotation)
        place = f"{one}/{each}" + ("/{name}" if several else "")
        upload, download, delete = (
            partial(_with_field, run, each) for run in (resource.upload, resource.download, resource.delete_attachment)
        )
        yield _Route("upload", "PUT", place, f"Store the {each} of a {name}", upload, 204, attachment=each)
        yield _Route("download", "GET", place, f"Read the {each} of a {name}", download, attachment=each)
        yield _Route(
            "delete_attachment", "DELETE", place, f"Delete the {each} of a {name}", delete, 204, attachment=each
        )


async def _with_field(
    run: Callable[..., Awaitable[Answer]], field: str, call: Call, repository: Any, *inputs: Any
) -> Answer:
    return await run(call, repository, field, *inputs)


class _Routes:
    """The routes of one router as FastAPI knows them."""

    def __init__(
        self,
        router: APIRouter,
        resource: Resource[Any],
        repository: Callable[..., Any] | None,
        guards: Mapping[Operation, Sequence[Dependency]],
        *,
        if_match_required: bool,
    ) -> None:
        self._router = router
        self._resource = resource
        self._repository = repository
        self._guards = guards
        self._if_match_required = if_match_required

    def add(self, route: _Route) -> None:
        """Add a route, and one of HEAD for one of GET."""
        endpoint = self._endpoint(route)
        described: dict[str, Any] = {
            "name": f"{route.operation}_{self._resource.model.__name__}"
            + (f"_{route.attachment}" if route.attachment else ""),
            "summary": route.summary,
            "status_code": route.status,
            "dependencies": list(self._guards.get(route.operation, ())),
            "response_model": route.answer,
            "responses": self._responses(route),
            "openapi_extra": self._extra(route),
        }
        if route.answer is None:
            described["response_class"] = Response
        self._router.add_api_route(route.path, endpoint, methods=[route.method], **described)
        if route.method == "GET" and route.operation != "changes":
            self._router.add_api_route(route.path, endpoint, methods=["HEAD"], include_in_schema=False, **described)

    def _endpoint(self, route: _Route) -> Callable[..., Awaitable[Response]]:
        model, run = self._resource.model, route.run
        names = re.findall(r"{(\w+)}", route.path) + (["body"] if route.body is not None else [])

        async def endpoint(request: Request, repository: Any = None, **inputs: Any) -> Response:
            target = model.repository() if repository is None else repository
            return response_of(await run(call_of(request), target, *[inputs[name] for name in names]))

        kinds = {"id": str, "name": str, "body": route.body}
        parameters = [_parameter("request", Request)]
        if self._repository is not None:
            parameters.append(_parameter("repository", Annotated[Any, Depends(self._repository)]))
        parameters += [_parameter(name, kinds[name]) for name in names]
        signature: Any = inspect.Signature(parameters)
        endpoint.__signature__ = signature  # type: ignore[attr-defined]
        return endpoint

    def _responses(self, route: _Route) -> dict[int | str, dict[str, Any]]:
        found: dict[int | str, dict[str, Any]] = {}
        field = None if route.attachment is None else attachment_fields(self._resource.model)[route.attachment]
        for status, answer in openapi.describe_answers(route.operation, field).items():
            found[status] = {**answer, "model": route.answer} if status == 201 and route.answer else answer
        for status in openapi.problem_statuses(route.operation, if_match_required=self._if_match_required):
            found[status] = {"model": Problem, "content": _ProblemContent()}
        return found

    def _extra(self, route: _Route) -> dict[str, Any]:
        parameters = openapi.header_parameters(route.operation, if_match_required=self._if_match_required)
        extra = openapi.describe_write(route.operation)
        if route.operation == "list":
            parameters += openapi.describe_list(self._resource.options)
        if route.operation == "upload" and route.attachment is not None:
            extra = openapi.upload_body(attachment_fields(self._resource.model)[route.attachment])
        return {**extra, "parameters": parameters}


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
