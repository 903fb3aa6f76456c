"""What a design document may look like: the types of its members, and that the functions of its views compile.

CouchDB takes a design document of a language that it does not know. So is JavaScript where it is not installed: the
functions are then refused when they are to be used.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from couchmodel._embedded.javascript.engine import Scripts, check_function, is_available
from couchmodel.errors import BadRequestError, ResponseError

__all__ = ["check_design", "check_functions", "has_functions", "language_of"]

JAVASCRIPT: Final = "javascript"

Path: TypeAlias = tuple[tuple[str | None, tuple[str, ...]], ...]
"""Names of members, each inside the one before, None for any; and the types that they may have."""

_OBJECT: Final = ("object",)
_FUNCTIONS: Final = ((None, ("object", "string")),)

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
_RANKS: Final = ("_top_", "_bottom_")
LARGEST_RANK: Final = 100


def language_of(design: Mapping[str, Any]) -> str:
    """The language of a design document's functions."""
    language: str = design.get("language", JAVASCRIPT)
    return language


def has_functions(design: Mapping[str, Any]) -> bool:
    """Whether there is something to be compiled, which takes a while. See :func:`check_functions`."""
    return bool(design.get("views")) and language_of(design) == JAVASCRIPT and is_available()


def check_design(design: Mapping[str, Any], *, partitioned: bool = False) -> None:
    """Raise what CouchDB answers to a design document that it does not take, whatever its functions are.

    Raises:
        BadRequestError: a member is not of its type.
    """
    for path in _PATHS:
        _check_path(design, path, ())
    _check_views(design)
    if not partitioned and design.get("options", {}).get("partitioned"):
        raise _invalid("partitioned option cannot be true in a non-partitioned database.")


def _check_path(value: Mapping[str, Any], path: Path, above: tuple[str, ...]) -> None:
    if not path:
        return
    (name, types), *below = path
    for member in value if name is None else (name,):
        if member not in value:
            continue
        if not _is_one_of(value[member], types):
            _refuse_type((*above, member), types)
        if isinstance(value[member], dict):
            _check_path(value[member], tuple(below), (*above, member))


def _check_views(design: Mapping[str, Any]) -> None:
    views = design.get("views", {})
    map_type = ("object",) if language_of(design) == "query" else ("string",)
    for member, types in (("map", map_type), ("reduce", ("string",))):
        for name, view in views.items():
            if not isinstance(view, dict):
                _refuse_type(("views", name), _OBJECT)
            if member in view and not _is_one_of(view[member], types):
                _refuse_type(("views", name, member), types)
    for name, view in views.items():
        if name != "lib" and "map" not in view:
            raise _invalid(f"View `{name}` must contain map function")
        if name != "lib" and not isinstance(view.get("options", {}), dict):
            _refuse_type(("views", name, "options"), _OBJECT)


def _is_one_of(value: object, types: tuple[str, ...]) -> bool:
    return any(isinstance(value, _TYPES[name]) for name in types)


def _refuse_type(names: tuple[str, ...], types: tuple[str, ...]) -> None:
    raise _invalid(f"`{'.'.join(names)}` field must have {' or '.join(reversed(types))} type")


# --- functions


def check_functions(views: Mapping[str, Any], scripts: Scripts | None = None) -> None:
    """Compile the functions of views, in CouchDB's order: views with one map function are one view.

    Raises:
        BadRequestError: a built-in reduce function does not exist, or a function does not compile.
        ResponseError: a function cannot be compiled, such as for taking too long.
    """
    for source, named in sorted(_by_map(views).items()):
        _compile("map", _name(named), source, scripts)
        for name, reduce in reversed(named):
            if reduce is not None:
                _check_reduce(name, reduce, scripts)


def _by_map(views: Mapping[str, Any]) -> dict[str, list[tuple[str, str | None]]]:
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name, view in views.items():
        if name != "lib":
            found.setdefault(view["map"], []).append((name, view.get("reduce")))
    return found


def _name(named: list[tuple[str, str | None]]) -> str:
    plain = [name for name, reduce in named if reduce is None]
    return (plain or [name for name, _ in named])[-1]


def _check_reduce(name: str, source: str, scripts: Scripts | None) -> None:
    if source[:1] != "_":
        _compile("reduce", name, source, scripts)
        return
    for prefix in _ranked(source):
        _check_rank(source.removeprefix(prefix))
        return
    if not source.startswith(_BUILT_IN):
        raise _invalid(f"`{source}` is not a supported reduce function.")


def _ranked(source: str) -> Iterator[str]:
    return (prefix for prefix in _RANKS if source.startswith(prefix))


def _check_rank(number: str) -> None:
    try:
        rank = int(number)
    except ValueError:
        raise _invalid("invalid rank reducer") from None
    if not 1 <= rank <= LARGEST_RANK:
        raise _invalid(f"rank value must be between 1 and {LARGEST_RANK}")


def _compile(kind: str, name: str, source: str, scripts: Scripts | None) -> None:
    try:
        check_function(source, scripts)
    except ResponseError as error:
        if error.code == "compilation_error":
            reason = f"Compilation of the {kind} function in the '{name}' view failed: {error.reason}"
            raise BadRequestError(reason, code=error.code) from None
        raise


def _invalid(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="invalid_design_doc")
