"""The options ``fields`` and ``sort`` of ``_find``: what of a document is shown, and in which order documents come."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from couchmodel._embedded.json.incremental import LARGE
from couchmodel._embedded.json.writer import encode_gradually
from couchmodel._embedded.mango.selector import DEEPEST, Absent, first_name, get_path, parse_path
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel._wire.messages import encode
from couchmodel.errors import BadRequestError, ServerError
from couchmodel.types import JSONObject

__all__ = ["Direction", "Projection", "parse_fields", "parse_sort"]

Direction: TypeAlias = Literal["asc", "desc"]

FEW: Final = 20
"""Paths that are followed one after the other; of more, a document is only asked for those that it may have."""

_DIRECTIONS: Final[Mapping[object, Direction]] = {"asc": "asc", "desc": "desc"}


class _Names(dict[str, "_Names"]):
    """The names that may come next in a path; and which one has ended here, and its place among all, if any."""

    __slots__ = ("path", "place")

    def __init__(self) -> None:
        super().__init__()
        self.place: int | None = None
        self.path: tuple[str, ...] = ()


class Projection:
    """The fields that are shown of each document that is found: all of them, if none is named."""

    __slots__ = ("_names", "_paths", "fields")

    fields: list[Any]
    """The paths as they were asked."""

    def __init__(self, fields: list[Any]) -> None:
        self.fields = fields
        self._paths: list[tuple[str, ...]] | None = None
        self._names = _Names()

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
            self._paths = _independent_paths(self.fields, self._names)
        picked: JSONObject = {}
        if len(self._paths) > FEW:
            for _, path, value in sorted(_found(self._names, document), key=_place):
                _put(picked, path, value)
            return picked
        for path in self._paths:
            value = get_path(document, path)
            if not isinstance(value, Absent):
                _put(picked, path, value)
        return picked

    def pick_json(self, document: JSONObject, size: int) -> bytes:
        """The same as JSON, of a document that has so many bytes."""
        picked = self.pick(document)
        return encode(picked) if size <= LARGE else encode_gradually(picked)

    def members(self) -> frozenset[str]:
        """The members of a document that the paths begin with."""
        return frozenset(first_name(field) for field in self.fields if isinstance(field, str))

    def dissolve(self) -> None:
        """Free all that it is made of, in this thread: it takes long where it is much. It is good for nothing then."""
        self.fields, self._paths, self._names = [], None, _Names()


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


def _independent_paths(fields: list[Any], names: _Names) -> list[tuple[str, ...]]:
    """The paths without those that lie below an earlier one, and joined in ``names`` where they begin alike."""
    paths: list[tuple[str, ...]] = []
    for field in fields:
        if not isinstance(field, str):
            raise ServerError("badarg", code="unknown_error")
        path = parse_path(field)
        if len(path) <= DEEPEST and _insert(names, path, len(paths)):
            paths.append(path)
    return paths


def _insert(names: _Names, path: tuple[str, ...], place: int) -> bool:
    for name in path:
        names = names.setdefault(name, _Names())
        if names.place is not None:
            return False
    names.place, names.path = place, path
    return True


_Found: TypeAlias = tuple[int, tuple[str, ...], Any]
"""The place of a path among those that are asked for, the path, and what is there."""


def _found(names: _Names, value: object) -> Iterator[_Found]:
    for name, after in _common(names, value):
        part = get_path(value, (name,))
        if isinstance(part, Absent):
            continue
        if after.place is not None:
            yield after.place, after.path, part
        if after:
            yield from _found(after, part)


def _common(names: _Names, value: object) -> Iterable[tuple[str, _Names]]:
    """The names that a value may have."""
    if isinstance(value, dict):
        return [(name, names[name]) for name in names.keys() & value.keys()]
    return names.items() if isinstance(value, list) else ()


def _place(found: _Found) -> int:
    return found[0]


def _put(picked: JSONObject, path: tuple[str, ...], value: object) -> None:
    # Every object on the way was made here, because no earlier path ends there
    *parents, last = path
    for name in parents:
        picked = picked.setdefault(name, {})
    picked[last] = value
