"""Parse the body of a Mango query, with the checks and error messages of CouchDB's ``mango_opts.erl``."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.mango.fields import Projection, parse_fields, parse_sort
from couchmodel._embedded.mango.planner import Sort
from couchmodel._embedded.mango.selector import Selector, compile_selector
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel._embedded.rules.partitions import check_partition
from couchmodel._wire.messages import encode
from couchmodel.errors import BadRequestError

__all__ = ["Options", "invalid_bookmark_error", "parse_options"]


class Options(NamedTuple):
    """The options of a query, with CouchDB's defaults."""

    selector: Selector
    use_index: tuple[str, ...] = ()
    bookmark: str = ""
    limit: int = limits.DEFAULT_LIMIT
    skip: int = 0
    sort: Sort = ()
    fields: Projection = Projection([])
    partition: str = ""
    r: int = 1
    conflicts: bool = False
    stale: bool = False
    update: bool = True
    stable: bool = False
    execution_stats: bool = False
    allow_fallback: bool = True

    def explain_options(self) -> dict[str, Any]:
        """Return the options as the member ``opts`` of ``_explain`` has them."""
        changed = {
            "use_index": list(self.use_index),
            "bookmark": self.bookmark or "nil",
            "sort": dict(self.sort),
            "fields": self.fields.fields,
            "stale": "ok" if self.stale else False,
        }
        return {name: changed.get(name, value) for name, value in self._asdict().items() if name != "selector"}


def parse_options(body: Mapping[str, Any]) -> Options:
    """Parse the body of a query. Raises BadRequestError if it is malformed, with CouchDB's code and reason."""
    if "selector" not in body:
        raise BadRequestError("Missing required key: selector", code="missing_required_key")
    options = Options(compile_selector(body["selector"]))
    # In CouchDB's order, because the first error is the one that is reported.
    changes = {name: read(body[name]) for name, read in _READERS.items() if name in body}
    for name in body:
        if name not in _READERS and name != "selector":
            raise BadRequestError(f"Invalid key {name} for this request.", code="invalid_key")
    return options._replace(**changes)


def invalid_bookmark_error(value: object) -> BadRequestError:
    """Return the error for a value that is not a bookmark, or is the bookmark of another query."""
    return BadRequestError(f"Invalid bookmark value: {encode(value).decode()}", code="invalid_bookmark")


def _use_index(value: Any) -> tuple[str, ...]:
    match value:
        case None | []:
            return ()
        case str():
            # A name such as `_design/by_age` or `by_age/rating`, with the index behind the design document.
            parts = tuple(value.split("/"))
            parts = parts[1:] if parts[0] == "_design" and len(parts) > 1 else parts
        case [str()] | [str(), str()]:
            parts = tuple(value)
        case _:
            parts = ()
    if len(parts) not in (1, 2):
        raise BadRequestError(f"Invalid index name: {erlang_term(value)}", code="invalid_index_name")
    return parts


def _bookmark(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid_bookmark_error(value)
    return value


def _non_negative(value: Any) -> int:
    # By exact type, because True is an int in Python.
    if type(value) is not int or value < 0:
        reason = f"{erlang_term(value)} is not an integer greater than or equal to zero"
        raise BadRequestError(reason, code="invalid_non_neg_integer")
    return value


def _positive(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise BadRequestError(f"{erlang_term(value)} is not an integer greater than zero", code="invalid_pos_integer")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadRequestError(f"Invalid boolean value: {erlang_term(value)}", code="invalid_boolean")
    return value


def _partition(value: Any) -> str:
    if not isinstance(value, str):
        raise BadRequestError("Partition must be a string", code="illegal_partition")
    if value:
        check_partition(value)
    return value


def _stale(value: Any) -> bool:
    if value not in ("ok", "false", False):
        reason = f"Invalid value for stale: {erlang_term(value)}"
        raise BadRequestError(reason, code="invalid_ok_or_false_value")
    return bool(value == "ok")


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "use_index": _use_index,
    "bookmark": _bookmark,
    "limit": _non_negative,
    "skip": _non_negative,
    "sort": parse_sort,
    "fields": parse_fields,
    "partition": _partition,
    "r": _positive,
    "conflicts": _boolean,
    "stale": _stale,
    "update": _boolean,
    "stable": _boolean,
    "execution_stats": _boolean,
    "allow_fallback": _boolean,
}
