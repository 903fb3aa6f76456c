"""Check a design document before it is stored: the types of its members, and that the functions of its views compile.

CouchDB stores design documents in languages that it does not know. JavaScript is treated the same if its extra is not
installed: the functions are refused when they are used.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from couchmodel._embedded.javascript.engine import Scripts, check_function, is_available
from couchmodel.errors import BadRequestError, ResponseError

__all__ = ["check_design", "check_functions", "has_functions", "language_of"]

JAVASCRIPT: Final = "javascript"

Path: TypeAlias = tuple[tuple[str | None, tuple[str, ...]], ...]
"""A path into a design document: the name of a member (None for any) and its allowed types, from the outside in."""

_OBJECT: Final = ("object",)
_FUNCTIONS: Final = ((None, ("object", "string")),)

# The order matters: the first violation is the one reported. See CouchDB's couch_mrview.erl.
_PATHS: Final[tuple[Path, ...]] = (
    (("filters", _OBJECT), *_FUNCTIONS),
    (("language", ("string",)),),
    (("lists", _OBJECT), *_FUNCTIONS),
    (("options", _OBJECT),),
    (("options", _OBJECT), ("include_design", ("boolean",))),
    (("options", _OBJECT), ("local_seq", ("boolean",))),
    (("options", _OBJECT), ("partitioned", ("boolean",))),
    (("rewrites", ("string", "array")),),
    (("shows", _OBJECT), *_FUNCTIONS),
    (("updates", _OBJECT), *_FUNCTIONS),
    (("validate_doc_update", ("string",)),),
    (("views", _OBJECT), ("lib", _OBJECT)),
)

_TYPES: Final = {"object": dict, "array": list, "string": str, "boolean": bool}

_BUILT_IN: Final = ("_sum", "_count", "_stats", "_approx_count_distinct", "_first", "_last")
_RANK_PREFIXES: Final = ("_top_", "_bottom_")
LARGEST_RANK: Final = 100
"""The largest number in ``_top_N`` and ``_bottom_N``, CouchDB's limit."""


def language_of(design: Mapping[str, Any]) -> str:
    """Return the language of a design document's functions, ``javascript`` by default."""
    language: str = design.get("language", JAVASCRIPT)
    return language


def has_functions(design: Mapping[str, Any]) -> bool:
    """Return True if :func:`check_functions` has functions to compile, which takes a while."""
    return bool(design.get("views")) and language_of(design) == JAVASCRIPT and is_available()


def check_design(design: Mapping[str, Any], *, partitioned: bool = False) -> None:
    """Check the types of a design document's members, as CouchDB does, without compiling functions.

    Raises:
        BadRequestError: a member has the wrong type, a view has no map function, or the option ``partitioned`` is set
            in a database without partitions.
    """
    for path in _PATHS:
        _check_path(design, path, ())
    _check_views(design)
    if not partitioned and design.get("options", {}).get("partitioned"):
        raise _invalid_design_error("partitioned option cannot be true in a non-partitioned database.")


def _check_path(value: Mapping[str, Any], path: Path, above: tuple[str, ...]) -> None:
    if not path:
        return
    (name, types), *below = path
    for member in value if name is None else (name,):
        if member not in value:
            continue
        if not _is_one_of(value[member], types):
            _raise_type_error((*above, member), types)
        if isinstance(value[member], dict):
            _check_path(value[member], tuple(below), (*above, member))


def _check_views(design: Mapping[str, Any]) -> None:
    views = design.get("views", {})
    map_type = ("object",) if language_of(design) == "query" else ("string",)
    for member, types in (("map", map_type), ("reduce", ("string",))):
        for name, view in views.items():
            if not isinstance(view, dict):
                _raise_type_error(("views", name), _OBJECT)
            if member in view and not _is_one_of(view[member], types):
                _raise_type_error(("views", name, member), types)
    for name, view in views.items():
        if name != "lib" and "map" not in view:
            raise _invalid_design_error(f"View `{name}` must contain map function")
        if name != "lib" and not isinstance(view.get("options", {}), dict):
            _raise_type_error(("views", name, "options"), _OBJECT)


def _is_one_of(value: object, types: tuple[str, ...]) -> bool:
    return any(isinstance(value, _TYPES[name]) for name in types)


def _raise_type_error(names: tuple[str, ...], types: tuple[str, ...]) -> None:
    raise _invalid_design_error(f"`{'.'.join(names)}` field must have {' or '.join(reversed(types))} type")


# --- functions


def check_functions(views: Mapping[str, Any], scripts: Scripts | None = None) -> None:
    """Compile the functions of views, in CouchDB's order. Views with the same map function count as one view.

    Raises:
        BadRequestError: a built-in reduce function does not exist, or a function does not compile.
        ResponseError: a function cannot be compiled for another reason, such as a time limit.
    """
    # CouchDB keeps views by the source of their map function, in the order of these sources.
    for source, named in sorted(_views_by_map(views).items()):
        _compile("map", _reported_name(named), source, scripts)
        for name, reduce in reversed(named):
            if reduce is not None:
                _check_reduce(name, reduce, scripts)


def _views_by_map(views: Mapping[str, Any]) -> dict[str, list[tuple[str, str | None]]]:
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name, view in views.items():
        if name != "lib":
            found.setdefault(view["map"], []).append((name, view.get("reduce")))
    return found


def _reported_name(named: list[tuple[str, str | None]]) -> str:
    # CouchDB names one of the views that share a map function: the last without a reduce function, or else the last.
    plain = [name for name, reduce in named if reduce is None]
    return (plain or [name for name, _ in named])[-1]


def _check_reduce(name: str, source: str, scripts: Scripts | None) -> None:
    if source[:1] != "_":
        _compile("reduce", name, source, scripts)
        return
    for prefix in _rank_prefixes(source):
        _check_rank(source.removeprefix(prefix))
        return
    if not source.startswith(_BUILT_IN):
        raise _invalid_design_error(f"`{source}` is not a supported reduce function.")


def _rank_prefixes(source: str) -> Iterator[str]:
    return (prefix for prefix in _RANK_PREFIXES if source.startswith(prefix))


def _check_rank(number: str) -> None:
    try:
        rank = int(number)
    except ValueError:
        raise _invalid_design_error("invalid rank reducer") from None
    if not 1 <= rank <= LARGEST_RANK:
        raise _invalid_design_error(f"rank value must be between 1 and {LARGEST_RANK}")


def _compile(kind: str, name: str, source: str, scripts: Scripts | None) -> None:
    try:
        check_function(source, scripts)
    except ResponseError as error:
        if error.code == "compilation_error":
            reason = f"Compilation of the {kind} function in the '{name}' view failed: {error.reason}"
            raise BadRequestError(reason, code=error.code) from None
        raise


def _invalid_design_error(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="invalid_design_doc")
