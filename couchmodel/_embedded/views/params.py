"""What a request asks of a view, checked as CouchDB checks it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from couchmodel._embedded.json.parse import json_parameter, parse_object
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel._embedded.rules.params import LARGEST, whole_number
from couchmodel._embedded.views.designs import View
from couchmodel.errors import BadRequestError

__all__ = [
    "Query",
    "Update",
    "parse_body",
    "parse_members",
    "parse_parameters",
    "parse_queries",
    "validate",
    "validate_listing",
]

Update: TypeAlias = Literal["true", "false", "lazy"]
"""Whether the view is brought up to date first, not at all, or behind the request's back."""

EXACT: Final = -1
"""The level of a group that has rows of one key only."""


class _Nothing:
    """What stands for a bound that is not given: null is a key like others."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing()


@dataclass(slots=True, frozen=True)
class Query:
    """Which rows of a view are wanted, and how."""

    start: Any = NOTHING
    start_id: str | None = None
    end: Any = NOTHING
    end_id: str | None = None
    inclusive_end: bool = True
    keys: Any = NOTHING
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
        """The length of the keys that make a group; 0 for one group of all, EXACT for whole keys."""
        if self.group_level is None:
            return EXACT if self.group else 0
        return self.group_level

    @property
    def has_keys(self) -> bool:
        """Whether the rows of several keys are wanted, one after the other."""
        return not isinstance(self.keys, _Nothing)


def parse_parameters(parameters: Mapping[str, str], query: Query) -> Query:
    """The query with the parameters of a request. Raises BadRequestError."""
    return _parse(parameters, query, decoded=False)


def parse_queries(base: Query, text: bytes) -> list[Query]:
    """The body of ``queries``: several queries in one request, each on top of ``base``. Raises BadRequestError."""
    body = parse_object(text)
    listed = body.get("queries")
    if "queries" in body and not isinstance(listed, list):
        raise BadRequestError("`queries` member must be an array.")
    if not isinstance(listed, list) or not all(isinstance(members, dict) for members in listed):
        raise BadRequestError("POST body must include `queries` parameter.")
    return [parse_members(members, base) for members in listed]


def parse_members(members: Mapping[str, Any], query: Query) -> Query:
    """The query with the members of an object. Raises BadRequestError."""
    return _parse(members, query, decoded=True)


def parse_body(body: Mapping[str, Any]) -> Query:
    """The query that a body brings. Raises BadRequestError."""
    _check_list(body, "queries")
    if body.get("queries") is not None:
        raise BadRequestError("The `queries` parameter is no longer supported at this endpoint")
    _check_list(body, "keys")
    return parse_members(body, Query())


def _check_list(body: Mapping[str, Any], name: str) -> None:
    if name in body and not isinstance(body[name], list):
        raise BadRequestError(f"`{name}` member must be an array.")


def validate(query: Query, view: View, *, partitioned: bool = False) -> bool:
    """Whether the query is for reduced rows; a view that is ``partitioned`` is asked for one partition of it.

    Raises BadRequestError where the query cannot be put to the view.
    """
    reduced = view.reduce is not None and query.reduce is not False
    _validate_grouping(query, reduced)
    if reduced and query.include_docs:
        raise _refusal("`include_docs` is invalid for reduce")
    if reduced and query.conflicts is not None:
        raise _refusal("`conflicts` is invalid for reduce views.")
    if partitioned and query.partition is None:
        raise _refusal("`partition` parameter is mandatory for queries to this view.")
    if query.partition is not None and not partitioned:
        raise _refusal("`partition` parameter is not supported in this design doc")
    _validate_range(query, view)
    return reduced


def validate_listing(query: Query) -> None:
    """Raise BadRequestError where the query cannot be put to a list of documents."""
    _validate_grouping(query, reduced=False)


def _validate_grouping(query: Query, reduced: bool) -> None:
    if query.group is False and (query.group_level or 0) > 0:
        raise _refusal("Can't specify group=false and group_level>0 at the same time")
    if not reduced and query.reduce:
        raise _refusal("Reduce is invalid for map-only views.")
    _validate_keys(query, reduced)
    if not reduced and query.level != 0:
        raise _refusal("Invalid use of grouping on a map view.")


def _validate_keys(query: Query, reduced: bool) -> None:
    if not query.has_keys:
        return
    if reduced and query.level != EXACT and isinstance(query.keys, list):
        raise _refusal("Multi-key fetches for reduce views must use `group=true`")
    if not isinstance(query.keys, list):
        raise _refusal("`keys` must be an array of strings.")
    bounds = [bound for bound in (query.start, query.end) if bound is not NOTHING]
    if query.keys and bounds and bounds != query.keys * 2:
        raise _refusal("`keys` is incompatible with `key`, `start_key` and `end_key`")


def _validate_range(query: Query, view: View) -> None:
    if query.start is NOTHING or query.end is NOTHING or (query.has_keys and query.keys):
        return
    start, end = view.key_of(query.start), view.key_of(query.end)
    if (start < end) if query.descending else (start > end):
        instead = "false" if query.descending else "true"
        raise _refusal(
            f"No rows can match your key range, reverse your start_key and end_key or set descending={instead}"
        )


def _refusal(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="query_parse_error")


# --- members and parameters


class _Text(str):
    """The text of a parameter, which CouchDB shows otherwise than a string in a body."""

    __slots__ = ()


def _parse(given: Mapping[str, Any], query: Query, *, decoded: bool) -> Query:
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in _KEYS:
            changes |= _KEYS[name](value if decoded else json_parameter(value))
        elif name in _OPTIONS:
            changes |= _OPTIONS[name](value if decoded else _Text(value))
    return replace(query, **changes) if changes else query


def _both(key: Any) -> dict[str, Any]:
    return {"start": key, "end": key}


def _keys(keys: Any) -> dict[str, Any]:
    """Keys; a single one is a range, which allows for more."""
    if isinstance(keys, list) and len(keys) == 1:
        return _both(keys[0])
    return {"keys": keys}


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise _refusal(f"Invalid boolean parameter: {_shown(value)}")


def _limit(value: Any) -> int:
    limit = _integer(value)
    if limit > LARGEST:
        raise _refusal(f"Limit is too large, must not exceed {LARGEST}")
    return limit


def _not_negative(value: Any) -> int:
    return min(_integer(value), LARGEST)


def _integer(value: Any) -> int:
    if isinstance(value, _Text) and _INTEGER.fullmatch(value):
        number = -1 if value[0] == "-" and value.strip("-0") else whole_number(value.lstrip("+-"))
    elif type(value) is int:
        number = value
    else:
        raise _refusal(f"Invalid value for integer: {_shown(value)}")
    if number < 0:
        raise _refusal(f"Invalid value for positive integer: {_shown(value)}")
    return number


_INTEGER: Final = re.compile("[+-]?[0-9]+")


def _shown(value: Any) -> str:
    if isinstance(value, _Text):
        return f'"{value}"' if value else "[]"
    return erlang_term(value, readable=True)


def _stale(value: Any) -> dict[str, Any]:
    if value not in ("ok", "update_after"):
        raise _refusal("Invalid value for `stale`.")
    return {"update": "false" if value == "ok" else "lazy"}


def _update(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"update": "true" if value else "false"}
    if value not in ("true", "false", "lazy"):
        raise _refusal("Invalid value for `update`.")
    return {"update": str(value)}


def _stable(value: Any) -> dict[str, Any]:
    """There is one copy of a view, so it is stable."""
    if not isinstance(value, bool) and value not in ("true", "false"):
        raise _refusal("Invalid value for `stable`.")
    return {}


def _sorted(value: Any) -> dict[str, Any]:
    """Rows are sorted even if they need not be."""
    _boolean(value)
    return {}


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) else erlang_term(value)


def _option(field: str, read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {field: read(value)}


_KEYS: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "key": _both,
    "keys": _keys,
    **dict.fromkeys(("startkey", "start_key"), lambda key: {"start": key}),
    **dict.fromkeys(("endkey", "end_key"), lambda key: {"end": key}),
}
"""What is JSON, and what it says of the query."""

_OPTIONS: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    **{name: _option("start_id", _text) for name in ("startkey_docid", "start_key_doc_id")},
    **{name: _option("end_id", _text) for name in ("endkey_docid", "end_key_doc_id")},
    "limit": _option("limit", _limit),
    **{name: _option(name, _not_negative) for name in ("skip", "group_level")},
    **{name: _option(name, _boolean) for name in ("inclusive_end", "descending", "reduce", "group", "include_docs")},
    **{name: _option(name, _boolean) for name in ("conflicts", "attachments", "att_encoding_info", "update_seq")},
    "partition": _option("partition", _text),
    "stale": _stale,
    "update": _update,
    "stable": _stable,
    "sorted": _sorted,
}
"""The other members, and how they are read. What CouchDB does not know either is passed over."""
