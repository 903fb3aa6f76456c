"""The description of the operations on documents in OpenAPI."""

from typing import Any, Final

from pydantic import TypeAdapter

from couchmodel._model.schema.attachments import attachment_fields
from couchmodel.integrations._core.events import EVENT_STREAM_TYPE
from couchmodel.integrations._core.filters import Filter, ListOptions
from couchmodel.integrations._core.messages import MERGE_PATCH_TYPE
from couchmodel.integrations._core.operations import Operation
from couchmodel.integrations._core.resource import Resource

__all__ = ["answers", "describe", "problem_statuses"]

_TEXT: Final = {"type": "string"}
_BYTES: Final = {"type": "string", "format": "binary"}

_STATUSES: Final[dict[str, tuple[int, ...]]] = {
    "create": (400, 409, 413, 415, 422, 503),
    "list": (400, 404, 422, 503),
    "changes": (400, 404, 503),
    "read": (404, 422, 503),
    "replace": (400, 404, 409, 412, 413, 415, 422, 503),
    "patch": (400, 404, 409, 412, 413, 415, 422, 503),
    "delete": (404, 409, 412, 422, 503),
    "upload": (404, 409, 412, 413, 415, 422, 503),
    "download": (404, 416, 422, 503),
    "delete_attachment": (404, 409, 412, 422, 503),
}
"""The statuses of the problems that an operation may end in."""

_WRITES: Final = frozenset({"replace", "patch", "delete", "upload", "delete_attachment"})
"""The operations on a document that exists."""


def problem_statuses(operation: Operation, resource: Resource[Any]) -> list[int]:
    """Return the statuses of the problems that an operation may end in."""
    # Without the option, If-Match is taken if it comes, and is not asked for.
    is_conditional = resource.if_match_required and operation.name in _WRITES
    return [*_STATUSES[operation.name], *([428] if is_conditional else [])]


def answers(operation: Operation, resource: Resource[Any]) -> dict[int, dict[str, Any]]:
    """Return the answers of an operation that are no problems, without the documents and lists."""
    match operation.name:
        case "read":
            return {304: {"description": "The client has the document."}}
        case "replace":
            return {201: {"description": "The document is new."}}
        case "upload":
            return {201: {"description": "The attachment is new."}}
        case "download":
            content = _contents(operation, resource)
            return {
                200: {"description": "The content.", "content": content},
                206: {"description": "The range.", "content": content},
                304: {"description": "The client has the content."},
            }
        case "changes":
            return {200: {"description": "Server-sent events.", "content": {EVENT_STREAM_TYPE: {"schema": _TEXT}}}}
    return {}


def describe(operation: Operation, resource: Resource[Any]) -> dict[str, Any]:
    """Return the parameters of an operation, and what is to be said of its body."""
    parameters = _header_parameters(operation, resource)
    described: dict[str, Any] = {"parameters": parameters}
    match operation.name:
        case "list":
            parameters += _list_parameters(resource.options)
        case "changes":
            parameters.append(_parameter("since", _TEXT, "The id of the event before the first one."))
        case "patch":
            said = "A JSON merge patch (RFC 7396): only the members that are to be changed."
            content = {MERGE_PATCH_TYPE: {"schema": {"type": "object"}}}
            described["requestBody"] = {"description": said, "content": content}
        case "upload":
            field = attachment_fields(resource.model)[operation.attachment or ""]
            limit = "" if field.max_size is None else f" At most {field.max_size:,} bytes."
            content = _contents(operation, resource)
            described["requestBody"] = {"required": True, "description": f"The content.{limit}", "content": content}
    return described


def _contents(operation: Operation, resource: Resource[Any]) -> dict[str, Any]:
    field = attachment_fields(resource.model)[operation.attachment or ""]
    return {kind: {"schema": _BYTES} for kind in field.content_types or ("*/*",)}


def _header_parameters(operation: Operation, resource: Resource[Any]) -> list[dict[str, Any]]:
    if operation.name in _WRITES:
        said = "The entity tag of the revision that is to be changed."
        return [_parameter("If-Match", _TEXT, said, where="header", required=resource.if_match_required)]
    found = []
    if operation.name in ("read", "download"):
        found.append(_parameter("If-None-Match", _TEXT, "The entity tag that the client has.", where="header"))
    if operation.name == "download":
        found.append(_parameter("Range", _TEXT, "A range of bytes, such as `bytes=0-999`.", where="header"))
    if operation.name == "changes":
        found.append(_parameter("Last-Event-ID", _TEXT, "The id of the last event that has arrived.", where="header"))
    return found


def _list_parameters(options: ListOptions) -> list[dict[str, Any]]:
    found = [_describe_filter(each) for each in options.filters.values()]
    if options.sorts:
        found.append(_parameter("sort", {"type": "string", "enum": options.orders}, "The order; `-` is descending."))
    size = {"type": "integer", "minimum": 1, "maximum": options.max_size, "default": options.default_size}
    found.append(_parameter("size", size, "The number of items on a page."))
    found.append(_parameter("after", _TEXT, "The token `next` of the page before."))
    return found


def _describe_filter(each: Filter) -> dict[str, Any]:
    schema: Any = _inline_schema(each.adapter)
    if each.is_many:
        schema = {"type": "array", "items": schema}
    return _parameter(each.name, schema, f"{each.description}.")


def _inline_schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the schema of a value without references, which a parameter cannot have."""
    schema = adapter.json_schema()
    definitions = schema.pop("$defs", {})
    if "$ref" in schema:
        # An enumeration has a definition of its own, to which the schema refers.
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema


def _parameter(
    name: str, schema: dict[str, Any], description: str, *, where: str = "query", required: bool = False
) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": schema, "description": description}
