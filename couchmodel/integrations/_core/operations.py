"""The operations of a web API on the documents of a model: their methods, their paths, and how they are carried out."""

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypedDict, Unpack, get_args

from pydantic import ValidationError

from couchmodel._model.model import CouchModel
from couchmodel._model.schema.annotations import holds_several
from couchmodel._model.schema.attachments import attachment_fields
from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import ConfigurationError
from couchmodel.integrations._core.filters import list_options
from couchmodel.integrations._core.members import decode_input, read_create, read_patch
from couchmodel.integrations._core.messages import MERGE_PATCH_TYPE, Answer, Call, read_json_body
from couchmodel.integrations._core.problems import field_errors, invalid
from couchmodel.integrations._core.resource import Resource

__all__ = [
    "Operation",
    "OperationName",
    "ResourceOptions",
    "make_operations",
    "make_resource",
    "operations_of",
    "read_input",
]

OperationName = Literal[
    "create", "list", "changes", "read", "replace", "patch", "delete", "upload", "download", "delete_attachment"
]
"""An operation on documents or on their attachments."""

BodyKind = Literal["create", "replace", "patch"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. ``run`` takes a call, a repository, the parameters of the path, and what was made of the body."""

    name: OperationName
    method: str
    path: str
    summary: str
    run: Callable[..., Awaitable[Answer]]
    status: int = 200
    body: BodyKind | None = None
    attachment: str | None = None

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters of the path."""
        # FastAPI, Starlette and aiohttp write parameters of a path alike.
        return re.findall(r"{(\w+)}", self.path)


class ResourceOptions(TypedDict, total=False):
    """The options of a resource, which are alike in all frameworks."""

    filters: Iterable[str] | None
    """The fields by which the list can be narrowed; by default those that an index leads with."""
    sorts: Iterable[str] | None
    """The fields by which it can be sorted; likewise."""
    size: int
    """The number of items on a page: 20 by default."""
    max_size: int
    """The largest number that a client gets: 100 by default."""
    if_match_required: bool
    """True to answer a write without ``If-Match`` with 428."""


def make_operations(
    model: type[CouchModel], exclude: Collection[OperationName], **options: Unpack[ResourceOptions]
) -> list[Operation]:
    """Return the operations on the documents of a model. Raises ConfigurationError for options that do not fit it."""
    # Else a stale tag would show what may not be read.
    return operations_of(make_resource(model, shows_current="read" not in exclude, **options), exclude)


def make_resource(
    model: type[CouchModel],
    *,
    filters: Iterable[str] | None = None,
    sorts: Iterable[str] | None = None,
    size: int = 20,
    max_size: int = 100,
    if_match_required: bool = False,
    shows_current: bool = True,
) -> Resource[Any]:
    """Return the resource of a model, with the options of its list."""
    options = list_options(model, filters, sorts, size, max_size)
    return Resource(model, options, if_match_required=if_match_required, shows_current=shows_current)


def operations_of(resource: Resource[Any], exclude: Collection[str] = ()) -> list[Operation]:
    """Return the operations on the documents of a model, without those that are left out.

    Raises ConfigurationError if an operation of that name does not exist.
    """
    for name in exclude:
        if name not in get_args(OperationName):
            raise ConfigurationError(
                f"there is no operation {name!r} to leave out{nearest(name, get_args(OperationName))}"
            )
    return [each for each in _all_operations(resource) if each.name not in exclude]


def _all_operations(resource: Resource[Any]) -> Iterator[Operation]:
    name, one = resource.model.__name__, "/{id}"
    yield Operation("create", "POST", "", f"Create a {name}", resource.create, 201, "create")
    yield Operation("list", "GET", "", f"List documents of {name}", resource.list)
    # No id of a document begins with an underscore.
    yield Operation("changes", "GET", "/_changes", f"Follow the changes of {name}", resource.changes)
    yield Operation("read", "GET", one, f"Read a {name}", resource.read)
    yield Operation("replace", "PUT", one, f"Replace a {name}", resource.replace, 200, "replace")
    yield Operation("patch", "PATCH", one, f"Change a {name}", resource.patch, 200, "patch")
    yield Operation("delete", "DELETE", one, f"Delete a {name}", resource.delete, 204)
    for field in attachment_fields(resource.model):
        several = holds_several(resource.model.__pydantic_fields__[field].annotation)
        place = f"{one}/{field}" + ("/{name}" if several else "")
        # Frameworks give parameters of the path only, and the field is a part of it that is fixed.
        runs = [partial(_with_field, run, field) for run in (resource.upload, resource.download, resource.remove)]
        upload, download, remove = runs
        yield Operation("upload", "PUT", place, f"Store {field} of a {name}", upload, 204, attachment=field)
        yield Operation("download", "GET", place, f"Read {field} of a {name}", download, attachment=field)
        yield Operation(
            "delete_attachment", "DELETE", place, f"Delete {field} of a {name}", remove, 204, attachment=field
        )


async def _with_field(
    run: Callable[..., Awaitable[Answer]], field: str, call: Call, repository: Any, *inputs: Any
) -> Answer:
    return await run(call, repository, field, *inputs)


async def read_input(call: Call, model: type[CouchModel], kind: BodyKind) -> Any:
    """Return what the JSON body of a request describes: a new document, a replacement, or a patch.

    Raises ProblemError if it is something else.
    """
    value = decode_input(await read_json_body(call, *([MERGE_PATCH_TYPE] if kind == "patch" else [])))
    if kind == "replace":  # it is checked when the document is known
        return value
    reads: Mapping[str, Callable[..., Any]] = {"create": read_create, "patch": read_patch}
    try:
        return reads[kind](model, value)
    except ValidationError as error:
        raise invalid(field_errors(error.errors(include_url=False, include_context=False), "body")) from None
