"""The router that creates, reads, lists, changes and deletes the documents of a model."""

import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.params import Depends as Dependency

from couchmodel._model.model import CouchModel
from couchmodel.integrations._core import openapi
from couchmodel.integrations._core.faces import page_of
from couchmodel.integrations._core.operations import Operation, OperationName, make_resource, operations_of
from couchmodel.integrations._core.problems import Problem
from couchmodel.integrations._core.resource import Resource
from couchmodel.integrations.fastapi.errors import ProblemRoute
from couchmodel.integrations.fastapi.faces import Create, Patch, Read, ReplaceSchema
from couchmodel.integrations.starlette import call_of, response_of

__all__ = ["crud_router"]


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
    exclude: Collection[OperationName] = (),
    guards: Mapping[OperationName, Sequence[Dependency]] | None = None,
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
    resource = make_resource(
        model,
        filters=filters,
        sorts=sorts,
        size=size,
        max_size=max_size,
        if_match_required=if_match_required,
        # Where reading is left out or guarded, a stale tag would show what may not be read.
        shows_current="read" not in exclude and not (guards or {}).get("read"),
    )
    router = APIRouter(route_class=ProblemRoute, **options)
    routes = _Routes(router, resource, repository, guards or {})
    for operation in operations_of(resource, exclude):
        routes.add(operation)
    return router


class _Routes:
    """The routes of one router as FastAPI knows them."""

    def __init__(
        self,
        router: APIRouter,
        resource: Resource[Any],
        repository: Callable[..., Any] | None,
        guards: Mapping[OperationName, Sequence[Dependency]],
    ) -> None:
        model: Any = resource.model
        faces: Any = Read, Create, Patch
        read, create, patch = (face[model] for face in faces)
        self._router = router
        self._resource = resource
        self._repository = repository
        self._guards = guards
        self._bodies = {"create": create, "patch": patch, "replace": Annotated[Any, ReplaceSchema(model), Body()]}
        self._answers = {**dict.fromkeys(("create", "read", "replace", "patch"), read), "list": page_of(model)}

    def add(self, operation: Operation) -> None:
        """Add the route of an operation, and one of HEAD if it reads."""
        endpoint = self._endpoint(operation)
        parts = (operation.name, self._resource.model.__name__, operation.attachment)
        described: dict[str, Any] = {
            "name": "_".join(filter(None, parts)),
            "summary": operation.summary,
            "status_code": operation.status,
            "dependencies": list(self._guards.get(operation.name, ())),
            "response_model": self._answers.get(operation.name),
            "responses": self._responses(operation),
            "openapi_extra": openapi.describe(operation, self._resource),
        }
        if operation.name not in self._answers:
            # The schema would else say that every answer is JSON.
            described["response_class"] = Response
        self._router.add_api_route(operation.path, endpoint, methods=[operation.method], **described)
        if operation.method == "GET" and operation.name != "changes":
            # FastAPI, unlike Starlette, adds no HEAD to the routes of GET.
            self._router.add_api_route(operation.path, endpoint, methods=["HEAD"], include_in_schema=False, **described)

    def _endpoint(self, operation: Operation) -> Callable[..., Awaitable[Response]]:
        model, run = self._resource.model, operation.run
        names = [*operation.parameters, *(["body"] if operation.body else [])]

        async def endpoint(request: Request, repository: Any = None, **inputs: Any) -> Response:
            target = model.repository() if repository is None else repository
            return response_of(await run(call_of(request), target, *[inputs[name] for name in names]))

        parameters = [_parameter("request", Request)]
        if self._repository is not None:
            parameters.append(_parameter("repository", Annotated[Any, Depends(self._repository)]))
        parameters += [_parameter(name, str) for name in operation.parameters]
        if operation.body:
            parameters.append(_parameter("body", self._bodies[operation.body]))
        # FastAPI reads the parameters of a function from its signature, and this one is known only when the program
        # runs.
        signature: Any = inspect.Signature(parameters)
        endpoint.__signature__ = signature  # type: ignore[attr-defined]
        return endpoint

    def _responses(self, operation: Operation) -> dict[int | str, dict[str, Any]]:
        found: dict[int | str, dict[str, Any]] = {}
        for status, answer in openapi.answers(operation, self._resource).items():
            is_document = status == 201 and operation.name == "replace"
            found[status] = {**answer, "model": self._answers["replace"]} if is_document else answer
        for status in openapi.problem_statuses(operation, self._resource):
            found[status] = {"model": Problem, "content": _ProblemContent()}
        return found


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
