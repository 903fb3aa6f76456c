"""The options ``fields`` and ``sort`` of ``_find``: what of a document is shown, and in which order documents come."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from couchmodel._embedded.erlang import erlang_term
from couchmodel._embedded.selector import Absent, get_path, parse_path
from couchmodel.errors import BadRequestError, ServerError
from couchmodel.types import JSONObject

__all__ = ["Direction", "Projection", "parse_fields", "parse_sort"]

Direction: TypeAlias = Literal["asc", "desc"]

_DIRECTIONS: Final[Mapping[object, Direction]] = {"asc": "asc", "desc": "desc"}


class Projection:
    """The fields that are shown of each document that is found: all of them, if none is named."""

    __slots__ = ("_paths", "fields")

    fields: list[Any]
    """The paths as they were asked."""

    def __init__(self, fields: list[Any]) -> None:
        self.fields = fields
        self._paths: list[tuple[str, ...]] | None = None

    def __repr__(self) -> str:
        return f"Projection({self.fields!r})"

    def pick(self, document: JSONObject) -> JSONObject:
        """What is shown of a decoded document; values are the document's own, not copies.

        A number in a path picks an element of an array, but shows it in an object: ``a.0`` gives ``{"a": {"0": ...}}``.
        A path below one that was named before adds nothing. (CouchDB then puts an array's element into the wrong
        place, or fails.)

        Raises:
            BadRequestError: where a path cannot be read. As in CouchDB, it takes a document to find that out.
        """
        if not self.fields:
            return document
        if self._paths is None:
            self._paths = _independent_paths(self.fields)
        picked: JSONObject = {}
        for path in self._paths:
            value = get_path(document, path)
            if not isinstance(value, Absent):
                _put(picked, path, value)
        return picked


def parse_fields(fields: object) -> Projection:
    """The option ``fields``.

    Raises:
        BadRequestError: with CouchDB's code and reason, where it is no array of strings.
    """
    if not isinstance(fields, list):
        reason = f"Fields must be an array of strings, not: {erlang_term(fields)}"
        raise BadRequestError(reason, code="invalid_fields")
    for field in fields:
        if not isinstance(field, str | dict):  # CouchDB lets objects pass, and fails when it finds a document
            raise BadRequestError(f"Invalid JSON for field spec: {erlang_term(field)}", code="invalid_field")
    return Projection(fields)


def parse_sort(sort: object) -> list[tuple[str, Direction]]:
    """The option ``sort``: paths and directions, which are all the same.

    Raises:
        BadRequestError: with CouchDB's code and reason, where it is something else.
    """
    if not isinstance(sort, list):
        reason = f"Sort must be an array of sort specs, not: {erlang_term(sort, readable=True)}"
        raise BadRequestError(reason, code="invalid_sort_json")
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
    """The paths without those that lie below an earlier one."""
    paths: dict[tuple[str, ...], None] = {}
    lengths: set[int] = set()
    for field in fields:
        if not isinstance(field, str):
            raise ServerError("badarg", code="unknown_error")
        path = parse_path(field)
        if not any(path[:length] in paths for length in lengths):
            paths[path] = None
            lengths.add(len(path))
    return list(paths)


def _put(picked: JSONObject, path: tuple[str, ...], value: object) -> None:
    # Every object on the way was made here, because no earlier path ends there
    *parents, last = path
    for name in parents:
        picked = picked.setdefault(name, {})
    picked[last] = value
