"""Parse the options ``fields`` and ``sort`` of ``_find``, and pick the chosen fields of a document.

The errors are those of CouchDB's ``mango_fields.erl`` and ``mango_sort.erl``.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from couchmodel._embedded.json.incremental import LARGE
from couchmodel._embedded.json.writer import encode_gradually
from couchmodel._embedded.mango.selector import DEEPEST, PathError, first_name, get_path, parse_path
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel._wire.messages import encode
from couchmodel.errors import BadRequestError, ServerError
from couchmodel.types import JSONObject

__all__ = ["Direction", "Projection", "parse_fields", "parse_sort"]

Direction: TypeAlias = Literal["asc", "desc"]

FEW: Final = 20
"""The largest number of paths that are looked up one by one.

With more paths, a document's members are matched against a tree of the paths instead, so that the time depends on what
the document has.
"""

_DIRECTIONS: Final[Mapping[object, Direction]] = {"asc": "asc", "desc": "desc"}


class _PathTree(dict[str, "_PathTree"]):
    """A node of the tree of paths, with a child for each name that can come next.

    Where a path ends at the node, ``path`` is that path and ``place`` its position in the option ``fields``.
    """

    __slots__ = ("path", "place")

    def __init__(self) -> None:
        super().__init__()
        self.place: int | None = None
        self.path: tuple[str, ...] = ()


class Projection:
    """The fields that a query shows of each document: all of them if the option ``fields`` is empty."""

    __slots__ = ("_paths", "_tree", "fields")

    fields: list[Any]
    """The paths as the request has them."""

    def __init__(self, fields: list[Any]) -> None:
        self.fields = fields
        self._paths: list[tuple[str, ...]] | None = None
        self._tree = _PathTree()

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
            self._paths = _independent_paths(self.fields, self._tree)
        picked: JSONObject = {}
        if len(self._paths) > FEW:
            for _, path, value in sorted(_find_values(self._tree, document), key=_place):
                _put(picked, path, value)
            return picked
        for path in self._paths:
            value = get_path(document, path)
            if not isinstance(value, PathError):
                _put(picked, path, value)
        return picked

    def pick_json(self, document: JSONObject, size: int) -> bytes:
        """Return the same as JSON. ``size`` is the document's size in bytes."""
        picked = self.project(document)
        return encode(picked) if size <= LARGE else encode_gradually(picked)

    def members(self) -> frozenset[str]:
        """Return the top-level members of a document that the paths lead into."""
        return frozenset(first_name(field) for field in self.fields if isinstance(field, str))

    def dissolve(self) -> None:
        """Free the paths in the calling thread; a large number takes long. The object is unusable afterwards."""
        self.fields, self._paths, self._tree = [], None, _PathTree()


def parse_fields(fields: object) -> Projection:
    """Parse the option ``fields``.

    Raises:
        BadRequestError: if it is not an array of strings; with CouchDB's code and reason.
    """
    if not isinstance(fields, list):
        reason = f"Fields must be an array of strings, not: {erlang_term(fields)}"
        raise BadRequestError(reason, code="invalid_fields")
    for field in fields:
        if not isinstance(field, str | dict):  # CouchDB accepts objects here, and fails at the first document
            raise BadRequestError(f"Invalid JSON for field spec: {erlang_term(field)}", code="invalid_field")
    return Projection(fields)


def parse_sort(sort: object) -> list[tuple[str, Direction]]:
    """Parse the option ``sort`` into pairs of a path and a direction.

    Raises:
        BadRequestError: if it is malformed, or its directions differ; with CouchDB's code and reason.
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


def _independent_paths(fields: list[Any], tree: _PathTree) -> list[tuple[str, ...]]:
    """Return the paths that do not lie below an earlier one, and add them to the ``tree``."""
    paths: list[tuple[str, ...]] = []
    for field in fields:
        if not isinstance(field, str):
            raise ServerError("badarg", code="unknown_error")
        path = parse_path(field)
        if len(path) <= DEEPEST and _insert(tree, path, len(paths)):
            paths.append(path)
    return paths


def _insert(node: _PathTree, path: tuple[str, ...], place: int) -> bool:
    for name in path:
        node = node.setdefault(name, _PathTree())
        if node.place is not None:
            return False
    node.place, node.path = place, path
    return True


_Found: TypeAlias = tuple[int, tuple[str, ...], Any]
"""The position of a path in the option ``fields``, the path, and the value at its end."""


def _find_values(node: _PathTree, value: object) -> Iterator[_Found]:
    for name, child in _reachable_children(node, value):
        part = get_path(value, (name,))
        if isinstance(part, PathError):
            continue
        if child.place is not None:
            yield child.place, child.path, part
        if child:
            yield from _find_values(child, part)


def _reachable_children(node: _PathTree, value: object) -> Iterable[tuple[str, _PathTree]]:
    """Return the children of a node that a value can have: the shared names of an object, all for an array."""
    if isinstance(value, dict):
        return [(name, node[name]) for name in node.keys() & value.keys()]
    return node.items() if isinstance(value, list) else ()


def _place(found: _Found) -> int:
    return found[0]


def _put(picked: JSONObject, path: tuple[str, ...], value: object) -> None:
    # Every object on the way was created here, because no earlier path ends there.
    *parents, last = path
    for name in parents:
        picked = picked.setdefault(name, {})
    picked[last] = value
