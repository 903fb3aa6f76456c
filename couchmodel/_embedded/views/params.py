"""Parse the parameters of view queries, and check them as CouchDB does."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import parse_json_parameter, parse_object
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel._embedded.rules.params import parse_digits
from couchmodel._embedded.views.designs import View
from couchmodel.errors import BadRequestError

__all__ = [
    "Update",
    "ViewQuery",
    "check_query",
    "parse_body",
    "parse_members",
    "parse_parameters",
    "parse_queries",
    "validate_listing",
]

Update: TypeAlias = Literal["true", "false", "lazy"]
"""The parameter ``update``: build the index before the answer, not at all, or in the background after the answer."""

WHOLE_KEYS: Final = -1
"""The group level for whole keys, as ``group=true`` asks for."""


class _NotGivenType:
    """The type of ``NOT_GIVEN``, a key that is not given. None cannot be used, since null is a valid key."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Final = _NotGivenType()


@dataclass(slots=True, frozen=True)
class ViewQuery:
    """A query of a view: which rows, in which order, reduced or not. ``keys`` is a list, or NOT_GIVEN."""

    start: Any = NOT_GIVEN
    start_id: str | None = None
    end: Any = NOT_GIVEN
    end_id: str | None = None
    inclusive_end: bool = True
    keys: Any = NOT_GIVEN
    limit: int | None = None
    skip: int = 0
    descending: bool = False
    reduce: bool | None = None
    group: bool | None = None
    group_level: int | None = None
    include_docs: bool = False
    conflicts: bool | None = None
    attachments: bool = False
    att_encoding_info: bool = False
    update: Update = "true"
    update_seq: bool = False
    partition: str | None = None

    @property
    def level(self) -> int:
        """The number of leading array items that make a group, 0 for one group of all rows, or WHOLE_KEYS."""
        if self.group_level is None:
            return WHOLE_KEYS if self.group else 0
        return self.group_level

    @property
    def has_keys(self) -> bool:
        """True if the query has ``keys``: it asks for the rows of each of these keys in turn."""
        return not isinstance(self.keys, _NotGivenType)


def parse_parameters(parameters: Mapping[str, str], query: ViewQuery) -> ViewQuery:
    """Return ``query`` changed by the parameters of a URL. Raises BadRequestError for an invalid value."""
    return _parse(parameters, query, decoded=False)


def parse_queries(base: ViewQuery, text: bytes) -> list[ViewQuery]:
    """Return the queries in the body of ``POST …/queries``, each of them ``base`` changed by its members.

    Raises BadRequestError.
    """
    body = parse_object(text)
    listed = body.get("queries")
    if "queries" in body and not isinstance(listed, list):
        raise BadRequestError("`queries` member must be an array.")
    if not isinstance(listed, list) or not all(isinstance(members, dict) for members in listed):
        raise BadRequestError("POST body must include `queries` parameter.")
    return [parse_members(members, base) for members in listed]


def parse_members(members: Mapping[str, Any], query: ViewQuery) -> ViewQuery:
    """Return ``query`` changed by the members of a JSON object. Raises BadRequestError for an invalid value."""
    return _parse(members, query, decoded=True)


def parse_body(body: Mapping[str, Any]) -> ViewQuery:
    """Return the query in the body of ``POST`` to a view. Raises BadRequestError."""
    _check_list(body, "queries")
    if body.get("queries") is not None:
        raise BadRequestError("The `queries` parameter is no longer supported at this endpoint")
    _check_list(body, "keys")
    return parse_members(body, ViewQuery())


def _check_list(body: Mapping[str, Any], name: str) -> None:
    if name in body and not isinstance(body[name], list):
        raise BadRequestError(f"`{name}` member must be an array.")


def check_query(query: ViewQuery, view: View, *, partitioned: bool = False) -> bool:
    """Check a query against its view. Return True if the query is for reduced rows.

    ``partitioned`` says that the view is partitioned. Its queries have to name a partition.

    Raises BadRequestError if the view cannot answer the query.
    """
    reduced = view.reduce is not None and query.reduce is not False
    _validate_grouping(query, reduced)
    if reduced and query.include_docs:
        raise _query_error("`include_docs` is invalid for reduce")
    if reduced and query.conflicts is not None:
        raise _query_error("`conflicts` is invalid for reduce views.")
    if partitioned and query.partition is None:
        raise _query_error("`partition` parameter is mandatory for queries to this view.")
    if query.partition is not None and not partitioned:
        raise _query_error("`partition` parameter is not supported in this design doc")
    _validate_range(query, view)
    return reduced


def validate_listing(query: ViewQuery) -> None:
    """Raise BadRequestError if a list of documents such as ``_all_docs`` cannot answer the query."""
    _validate_grouping(query, reduced=False)


# The checks come in the order of `couch_mrview_util:validate_args`: the first that fails is what the client is told.
def _validate_grouping(query: ViewQuery, reduced: bool) -> None:
    if query.group is False and (query.group_level or 0) > 0:
        raise _query_error("Can't specify group=false and group_level>0 at the same time")
    if not reduced and query.reduce:
        raise _query_error("Reduce is invalid for map-only views.")
    _validate_keys(query, reduced)
    if not reduced and query.level != 0:
        raise _query_error("Invalid use of grouping on a map view.")


def _validate_keys(query: ViewQuery, reduced: bool) -> None:
    if not query.has_keys:
        return
    if reduced and query.level != WHOLE_KEYS and isinstance(query.keys, list):
        raise _query_error("Multi-key fetches for reduce views must use `group=true`")
    if not isinstance(query.keys, list):
        raise _query_error("`keys` must be an array of strings.")
    bounds = [bound for bound in (query.start, query.end) if bound is not NOT_GIVEN]
    # `{[Key], Key, Key}` in `couch_mrview_util:validate_args`: a range that is the only key.
    if query.keys and bounds and bounds != query.keys * 2:
        raise _query_error("`keys` is incompatible with `key`, `start_key` and `end_key`")


def _validate_range(query: ViewQuery, view: View) -> None:
    if query.start is NOT_GIVEN or query.end is NOT_GIVEN or (query.has_keys and query.keys):
        return
    start, end = view.key_of(query.start), view.key_of(query.end)
    if (start < end) if query.descending else (start > end):
        instead = "false" if query.descending else "true"
        raise _query_error(
            f"No rows can match your key range, reverse your start_key and end_key or set descending={instead}"
        )


def _query_error(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="query_parse_error")


# --- members and parameters


class _ParameterText(str):
    """The text of a URL parameter. CouchDB's error messages show it differently from a string in a body."""

    __slots__ = ()


def _parse(given: Mapping[str, Any], query: ViewQuery, *, decoded: bool) -> ViewQuery:
    """Return ``query`` changed by parameters, or with ``decoded`` by members. Unknown names are ignored."""
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in _KEY_READERS:
            changes |= _KEY_READERS[name](value if decoded else parse_json_parameter(value))
        elif name in _OPTION_READERS:
            changes |= _OPTION_READERS[name](value if decoded else _ParameterText(value))
    return replace(query, **changes) if changes else query


def _read_key(key: Any) -> dict[str, Any]:
    return {"start": key, "end": key}


def _read_keys(keys: Any) -> dict[str, Any]:
    """Read ``keys``. A single key becomes a range, to which fewer restrictions apply."""
    # As `couch_mrview_http:parse_param` does. So `keys=[1]` may stand beside `group_level`, and `keys=[1,2]` may not.
    if isinstance(keys, list) and len(keys) == 1:
        return _read_key(keys[0])
    return {"keys": keys}


def _read_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise _query_error(f"Invalid boolean parameter: {_erlang_text(value)}")


def _read_limit(value: Any) -> int:
    limit = _read_integer(value)
    if limit > limits.LARGEST_NUMBER:
        raise _query_error(f"Limit is too large, must not exceed {limits.LARGEST_NUMBER}")
    return limit


def _read_number(value: Any) -> int:
    # Erlang's integers have no end. A larger number than a database has rows means the same.
    return min(_read_integer(value), limits.LARGEST_NUMBER)


def _read_integer(value: Any) -> int:
    """Read an integer that is not negative, in decimal digits with an optional sign."""
    if isinstance(value, _ParameterText) and _INTEGER.fullmatch(value):
        # Erlang's `list_to_integer` takes signs and leading zeros, and -0 is 0.
        number = -1 if value[0] == "-" and value.strip("-0") else parse_digits(value.lstrip("+-"))
    elif type(value) is int:
        number = value
    else:
        raise _query_error(f"Invalid value for integer: {_erlang_text(value)}")
    if number < 0:
        raise _query_error(f"Invalid value for positive integer: {_erlang_text(value)}")
    return number


_INTEGER: Final = re.compile("[+-]?[0-9]+")


def _erlang_text(value: Any) -> str:
    """Return a value as CouchDB's error messages show it. An empty parameter is an empty Erlang list."""
    if isinstance(value, _ParameterText):
        return f'"{value}"' if value else "[]"
    return erlang_term(value, readable=True)


def _read_stale(value: Any) -> dict[str, Any]:
    if value not in ("ok", "update_after"):
        raise _query_error("Invalid value for `stale`.")
    return {"update": "false" if value == "ok" else "lazy"}


def _read_update(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"update": "true" if value else "false"}
    if value not in ("true", "false", "lazy"):
        raise _query_error("Invalid value for `update`.")
    return {"update": str(value)}


def _read_stable(value: Any) -> dict[str, Any]:
    """Check ``stable``. It has no effect, since there is only one copy of each view."""
    if not isinstance(value, bool) and value not in ("true", "false"):
        raise _query_error("Invalid value for `stable`.")
    return {}


def _read_sorted(value: Any) -> dict[str, Any]:
    """Check ``sorted``. It has no effect, since rows are always sorted."""
    _read_boolean(value)
    return {}


def _read_text(value: Any) -> str:
    return str(value) if isinstance(value, str) else erlang_term(value)


def _option(field: str, read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Return a reader that sets one field of the query."""
    return lambda value: {field: read(value)}


_KEY_READERS: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "key": _read_key,
    "keys": _read_keys,
    **dict.fromkeys(("startkey", "start_key"), lambda key: {"start": key}),
    **dict.fromkeys(("endkey", "end_key"), lambda key: {"end": key}),
}
"""The parameters whose values are JSON, and the readers that turn a value into fields of the query."""

_OPTION_READERS: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    **{name: _option("start_id", _read_text) for name in ("startkey_docid", "start_key_doc_id")},
    **{name: _option("end_id", _read_text) for name in ("endkey_docid", "end_key_doc_id")},
    "limit": _option("limit", _read_limit),
    **{name: _option(name, _read_number) for name in ("skip", "group_level")},
    **{
        name: _option(name, _read_boolean)
        for name in ("inclusive_end", "descending", "reduce", "group", "include_docs")
    },
    **{name: _option(name, _read_boolean) for name in ("conflicts", "attachments", "att_encoding_info", "update_seq")},
    "partition": _option("partition", _read_text),
    "stale": _read_stale,
    "update": _read_update,
    "stable": _read_stable,
    "sorted": _read_sorted,
}
"""The other parameters, and their readers. Names that are in neither table are ignored, as in CouchDB."""
