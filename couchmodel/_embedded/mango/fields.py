"""Parse the options ``fields`` and ``sort`` of ``_find``, and pick the chosen fields of a document.

The errors are those of CouchDB's ``mango_fields.erl`` and ``mango_sort.erl``.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import check_count
from couchmodel._embedded.json.writer import write
from couchmodel._embedded.mango.paths import PathError, first_name, get_path, parse_path
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel._wire.messages import encode
from couchmodel.errors import BadRequestError, ServerError
from couchmodel.types import JSONObject

__all__ = ["Direction", "Projection", "parse_fields", "parse_sort"]

Direction: TypeAlias = Literal["asc", "desc"]

_DIRECTIONS: Final[Mapping[object, Direction]] = {"asc": "asc", "desc": "desc"}


class Projection:
    """The fields that a query shows of each document: all of them if the option ``fields`` is empty."""

    __slots__ = ("_paths", "fields")

    fields: list[Any]
    """The paths as the request has them."""

    def __init__(self, fields: list[Any]) -> None:
        self.fields = fields
        self._paths: list[tuple[str, ...]] | None = None

    def __repr__(self) -> str:
        return f"Projection({self.fields!r})"

    def project(self, document: JSONObject) -> JSONObject:
        """Return the shown part of a decoded document. Its values are the document's own, not copies.

        A number in a path picks an element of an array, but the result has an object there: ``a.0`` gives
        ``{"a": {"0": ...}}``. A path below an earlier path adds nothing. (CouchDB then puts an array's element into the
        wrong place, or fails.)

        Raises:
            BadRequestError: if a path has an empty name. As in CouchDB, only the first document reveals that.
            ServerError: if a path is not a string, likewise.
        """
        if not self.fields:
            return document
        if self._paths is None:
            self._paths = _independent_paths(self.fields)
        picked: JSONObject = {}
        for path in self._paths:
            value = get_path(document, path)
            if not isinstance(value, PathError):
                _put(picked, path, value)
        return picked

    def pick_json(self, document: JSONObject, size: int) -> bytes:
        """Return the same as JSON. ``size`` is the document's size in bytes."""
        picked = self.project(document)
        # The size of the whole document is the upper bound of what was picked.
        return encode(picked) if size <= limits.LARGE_JSON else write(picked)

    def members(self) -> frozenset[str]:
        """Return the top-level members of a document that the paths lead into."""
        return frozenset(first_name(field) for field in self.fields if isinstance(field, str))


def parse_fields(fields: object) -> Projection:
    """Parse the option ``fields``.

    Raises:
        BadRequestError: if it is not an array of strings; with CouchDB's code and reason.
        ContentTooLargeError: if it has too many items.
    """
    if not isinstance(fields, list):
        reason = f"Fields must be an array of strings, not: {erlang_term(fields)}"
        raise BadRequestError(reason, code="invalid_fields")
    check_count(len(fields), limits.QUERY_FIELDS, "fields")
    for field in fields:
        if not isinstance(field, str | dict):  # CouchDB accepts objects here, and fails at the first document
            raise BadRequestError(f"Invalid JSON for field spec: {erlang_term(field)}", code="invalid_field")
    return Projection(fields)


def parse_sort(sort: object) -> list[tuple[str, Direction]]:
    """Parse the option ``sort`` into pairs of a path and a direction.

    Raises:
        BadRequestError: if it is malformed, or its directions differ; with CouchDB's code and reason.
        ContentTooLargeError: if it has too many items.
    """
    if not isinstance(sort, list):
        reason = f"Sort must be an array of sort specs, not: {erlang_term(sort, readable=True)}"
        raise BadRequestError(reason, code="invalid_sort_json")
    check_count(len(sort), limits.QUERY_FIELDS, "fields to sort by")
    fields = [_sort_field(field) for field in sort]
    if len({direction for _, direction in fields}) > 1:
        reason = "Sorts currently only support a single direction for all fields."
        raise BadRequestError(reason, code="unsupported_mixed_sort")
    return fields


def _sort_field(field: object) -> tuple[str, Direction]:
    if isinstance(field, str) and field:
        return field, "asc"
    if isinstance(field, dict) and len(field) == 1:
        [(path, direction)] = field.items()
        if isinstance(direction, str) and direction in _DIRECTIONS:
            return path, _DIRECTIONS[direction]
    raise BadRequestError(f"Invalid sort field: {erlang_term(field, readable=True)}", code="invalid_sort_field")


def _independent_paths(fields: list[Any]) -> list[tuple[str, ...]]:
    """Return the paths that do not lie below an earlier one."""
    paths: list[tuple[str, ...]] = []
    for field in fields:
        if not isinstance(field, str):
            raise ServerError("badarg", code="unknown_error")
        path = parse_path(field)
        if not any(path[: len(other)] == other for other in paths):
            paths.append(path)
    return paths


def _put(picked: JSONObject, path: tuple[str, ...], value: object) -> None:
    # Every object on the way was created here, because no earlier path ends there.
    *parents, last = path
    for name in parents:
        picked = picked.setdefault(name, {})
    picked[last] = value
