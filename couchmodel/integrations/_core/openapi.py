"""The description of the operations on documents in OpenAPI."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter

from couchmodel._model.schema.attachments import AttachmentField
from couchmodel.integrations._core.filters import Filter, ListOptions
from couchmodel.integrations._core.messages import JSON_TYPE, MERGE_PATCH_TYPE

__all__ = [
    "describe_answers",
    "describe_list",
    "describe_write",
    "header_parameters",
    "problem_statuses",
    "upload_body",
]

_TEXT: Final = {"type": "string"}

_STATUSES: Final[dict[str, tuple[int, ...]]] = {
    "create": (400, 409, 413, 415, 422, 503),
    "list": (400, 404, 422, 503),
    "read": (404, 503),
    "replace": (400, 404, 409, 412, 413, 415, 422, 503),
    "patch": (400, 404, 409, 412, 413, 415, 422, 503),
    "delete": (404, 409, 412, 422, 503),
    "upload": (404, 409, 412, 413, 415, 422, 503),
    "download": (404, 416, 503),
    "delete_attachment": (404, 409, 412, 503),
    "changes": (400, 404, 503),
}
"""The statuses of the problems that an operation may end in."""

_WRITES: Final = frozenset({"replace", "patch", "delete", "upload", "delete_attachment"})
"""The operations on a document that exists."""


def problem_statuses(operation: str, *, if_match_required: bool) -> list[int]:
    """Return the statuses of the problems that an operation may end in."""
    return [*_STATUSES[operation], *([428] if if_match_required and operation in _WRITES else [])]


def header_parameters(operation: str, *, if_match_required: bool) -> list[dict[str, Any]]:
    """Return the headers that an operation takes."""
    if operation in _WRITES:
        said = "The entity tag of the revision that is to be changed."
        return [_parameter("If-Match", _TEXT, said, where="header", required=if_match_required)]
    if operation in ("read", "download"):
        found = [_parameter("If-None-Match", _TEXT, "The entity tag that the client has.", where="header")]
        if operation == "download":
            found.append(_parameter("Range", _TEXT, "A range of bytes, such as `bytes=0-999`.", where="header"))
        return found
    if operation == "changes":
        return [_parameter("Last-Event-ID", _TEXT, "The id of the last event that has arrived.", where="header")]
    return []


def describe_list(options: ListOptions) -> list[dict[str, Any]]:
    """Return the query parameters of a list."""
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
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema


def _parameter(
    name: str, schema: dict[str, Any], description: str, *, where: str = "query", required: bool = False
) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": schema, "description": description}


def describe_write(operation: str) -> dict[str, Any]:
    """Return what is to be added to the description of the body of an operation."""
    if operation != "patch":
        return {}
    said = "A JSON merge patch (RFC 7396): only the members that are to be changed."
    return {"requestBody": {"description": said, "content": {MERGE_PATCH_TYPE: {"schema": {"type": "object"}}}}}


def upload_body(field: AttachmentField) -> dict[str, Any]:
    """Return the description of the body of an upload."""
    kinds: Iterable[str] = field.content_types or ("*/*",)
    limit = f" At most {field.max_size:,} bytes." if field.max_size is not None else ""
    return {
        "requestBody": {
            "required": True,
            "description": f"The content.{limit}",
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds},
        }
    }


def describe_answers(operation: str, field: AttachmentField | None = None) -> dict[int, dict[str, Any]]:
    """Return the answers of an operation that are no problems and not its usual one."""
    found: dict[int, dict[str, Any]] = {}
    match operation:
        case "read":
            found[304] = {"description": "The client has the document."}
        case "replace":
            found[201] = {"description": HTTPStatus(201).phrase, "content": {JSON_TYPE: {}}}
        case "upload":
            found[201] = {"description": "The attachment is stored; there was none."}
        case "download" if field is not None:
            kinds: Iterable[str] = field.content_types or ("*/*",)
            content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
            found[200] = {"description": "The content.", "content": content}
            found[206] = {"description": "The range.", "content": content}
            found[304] = {"description": "The client has the content."}
        case "changes":
            found[200] = {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": _TEXT}}}
    return found
