"""Read Mango indexes from design documents, parse the requests of ``_index``, and write design documents for them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from couchmodel._embedded import limits
from couchmodel._embedded.budget import require_thread
from couchmodel._embedded.documents.reader import IS_DESIGN, find_winner, require_living
from couchmodel._embedded.mango.fields import parse_sort
from couchmodel._embedded.mango.planner import Index
from couchmodel._embedded.mango.selector import compile_selector
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel._embedded.rules.erlang_binary import Atom, term_to_binary
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.designs import QUERY, Design, parse_design
from couchmodel._wire.messages import decode
from couchmodel.errors import BadRequestError, UnavailableError

__all__ = [
    "Catalogue",
    "Definition",
    "add_index",
    "describe_index",
    "indexes_of",
    "parse_definition",
    "parse_removal",
    "read_catalogue",
    "remove_index",
]


class Definition(NamedTuple):
    """The definition of an index to create: its design document, its name and its view.

    ``partitioned`` is the option of the design document. None means that it is as its database is.
    """

    design: str
    name: str
    view: dict[str, Any]
    partitioned: bool | None


@dataclass(slots=True, frozen=True, eq=False)
class Catalogue:
    """The design documents with indexes of a database by id, and the indexes in the order of ``GET /{db}/_index``.

    ``queries`` keeps the plans that were made with it.
    """

    designs: dict[str, Design]
    indexes: list[Index]
    queries: dict[Any, Any] = field(default_factory=dict)


def read_catalogue(connection: Connection, database: Database) -> Catalogue:
    """Return the indexes of a database, without the special index ``_all_docs``.

    A catalogue is cached until a design document changes.
    """
    rows = connection.execute(
        f"SELECT id, seq, rev FROM document WHERE database = ? AND {IS_DESIGN} AND NOT deleted ORDER BY id",
        (database.number,),
    ).fetchall()
    cached = _catalogues.get(database)
    if cached is None or cached.rows != rows:
        cached = _catalogues[database] = _CachedCatalogue(
            rows, _read_catalogue(connection, database, [id for id, *_ in rows])
        )
    return cached.catalogue


class _CachedCatalogue(NamedTuple):
    """A cached catalogue. ``rows`` are the ids, sequence numbers and revisions of its design documents."""

    rows: list[tuple[str, int, str]]
    catalogue: Catalogue


_catalogues: Final[WeakKeyDictionary[Database, _CachedCatalogue]] = WeakKeyDictionary()
"""The last catalogue of each database. It is cached because every ``_find`` needs it."""


def _read_catalogue(connection: Connection, database: Database, ids: Sequence[str]) -> Catalogue:
    designs: dict[str, Design] = {}
    indexes: list[Index] = []
    for id in ids:
        text = require_living(find_winner(connection, database.number, id)).body
        if len(text) > limits.INLINE_DESIGN_BYTES:
            require_thread()
        body = decode(text)
        # Views of other languages are no indexes of Mango.
        if body.get("language") == QUERY:
            designs[id] = parse_design(id, body, partitioned=database.partitioned)
            indexes += indexes_of(designs[id])
    return Catalogue(designs, sorted(indexes, key=lambda index: index.rank))


def indexes_of(design: Design) -> Iterator[Index]:
    """Yield the indexes of one design document. Invalid definitions are skipped."""
    views = design.body.get("views")
    if design.language != QUERY or not isinstance(views, dict):
        return
    for name, view in views.items():
        try:
            yield _parse_index(design, name, view["map"])
        # Anybody may write a design document of this language by hand. One that is broken must not stop the queries of
        # all others.
        except (BadRequestError, KeyError, TypeError, AttributeError):
            continue


def _parse_index(design: Design, name: str, definition: Mapping[str, Any]) -> Index:
    filter = definition.get("partial_filter_selector")
    selector = compile_selector(filter) if filter else None
    return Index(design.id, name, tuple(definition["fields"].keys()), selector, definition, design.partitioned)


def describe_index(index: Index) -> dict[str, Any]:
    """Return the description of an index in ``GET /{db}/_index``."""
    if index.design is None:
        fields: dict[str, Any] = {"fields": [{"_id": "asc"}]}
        return {"ddoc": None, "name": index.name, "type": "special", "def": fields}
    definition = dict(index.definition or {})
    definition["fields"] = [{field: direction} for field, direction in definition["fields"].items()]
    if not definition.get("partial_filter_selector"):
        definition.pop("partial_filter_selector", None)
    partitioned = index.partitioned
    return {"ddoc": index.design, "name": index.name, "type": "json", "partitioned": partitioned, "def": definition}


def parse_definition(body: Mapping[str, Any]) -> Definition:
    """Return the index that the body of ``POST /{db}/_index`` defines.

    Raises:
        BadRequestError: the definition is invalid.
        UnavailableError: the index is a text index.
    """
    options = _parse_options(body)
    index = options["index"]
    fields = _parse_fields(index)
    filter = index.get("partial_filter_selector", {})
    view = {
        "map": {"fields": dict(fields), "partial_filter_selector": compile_selector(filter).normalized},
        # As CouchDB writes it, because the design document may replicate to one.
        "reduce": "_count",
        "options": {"def": index},
    }
    name, design = options["name"], options["ddoc"]
    automatic = _automatic_name(options)
    if design is None:
        design = automatic
    if not design.startswith("_design/"):
        # `mango_idx:new` takes the name with and without the prefix.
        design = f"_design/{design}"
    return Definition(design, automatic if name is None else name, view, options["partitioned"])


def parse_removal(body: Mapping[str, Any]) -> list[str]:
    """Return the ids of design documents in the body of ``POST /{db}/_index/_bulk_delete``. Raises BadRequestError."""
    if "docids" not in body:
        raise _missing_key("docids")
    listed = body["docids"]
    if not isinstance(listed, list):
        reason = f"Bulk Delete requires an array of non-null docids. Docids: {erlang_term(listed)}"
        raise BadRequestError(reason, code="invalid_bulk_docs")
    for item in listed:
        if not isinstance(item, str):
            raise BadRequestError(f"Invalid index name: {erlang_term(item)}", code="invalid_index_name")
    _check_positive(body.get("w", 2))
    for name in body:
        if name not in ("docids", "w"):
            raise BadRequestError(f"Invalid key {name} for this request.", code="invalid_key")
    return listed


def add_index(design: Mapping[str, Any] | None, definition: Definition) -> dict[str, Any]:
    """Return the body of a design document with an index added. ``design`` is None if it does not exist yet.

    Raises BadRequestError if the design document has another language, or another option ``partitioned``.
    """
    body: dict[str, Any] = dict(design) if design is not None else {"language": QUERY}
    if body.get("language") != QUERY:
        raise BadRequestError("Invalid design document query language.", code="invalid_index")
    views = body.get("views")
    body["views"] = {**(views if isinstance(views, dict) else {}), definition.name: definition.view}
    options = body.get("options") or {}
    if options.get("partitioned") is not definition.partitioned:
        if design is not None:
            reason = (
                f"Requested partitioned option does not match existing value on design document {definition.design}"
            )
            raise BadRequestError(reason, code="invalid_partitioned_option")
        body["options"] = {"partitioned": definition.partitioned}
    return body


def remove_index(design: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the body of a design document without one of its indexes."""
    views = {other: view for other, view in design["views"].items() if other != name}
    body = {**design, "views": views}
    if not views:
        del body["views"]
    return body


# --- options


def _parse_options(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an index request, with CouchDB's defaults. Raises as ``parse_definition`` does."""
    if "index" not in body:
        raise _missing_key("index")
    options: dict[str, Any] = {
        "index": body["index"],
        "type": "json",
        "name": None,
        "ddoc": None,
        "w": 2,
        "partitioned": None,
    }
    for name, value in body.items():
        if name not in options:
            raise BadRequestError(f"Invalid key {name} for this request.", code="invalid_key")
        _CHECKS[name](value)
        options[name] = value
    if options["type"] in ("text", "nouveau"):
        raise UnavailableError(options["type"], code="required index service unavailable")
    if options["type"] != "json":
        raise BadRequestError(f"Invalid type for index: {options['type']}", code="invalid_index")
    return options


def _parse_fields(index: Any) -> list[tuple[str, str]]:
    """Return the fields of an index with their directions. Raises BadRequestError."""
    if not isinstance(index, dict):
        raise BadRequestError(f"JSON indexes must be an object, not: {erlang_term(index)}", code="invalid_index")
    if "fields" not in index:
        raise _missing_key("fields")
    fields = parse_sort(index["fields"])
    for name in index:
        if name not in ("fields", "partial_filter_selector"):
            raise BadRequestError(f"Invalid key {name} for this request.", code="invalid_key")
    return list(fields)


def _check_name(value: Any) -> None:
    if value == "":
        raise BadRequestError("Index name or ddoc cannot be empty string", code="invalid_empty_string")
    _check_string(value)


def _check_string(value: Any) -> None:
    if not isinstance(value, str):
        raise BadRequestError(f"Invalid string: {erlang_term(value)}", code="invalid_string")


def _check_positive(value: Any) -> None:
    if type(value) is not int or value < 1:
        reason = f"{erlang_term(value)} is not an integer greater than zero"
        raise BadRequestError(reason, code="invalid_pos_integer")


def _check_partitioned(value: Any) -> None:
    if not isinstance(value, bool):
        raise BadRequestError(f"Invalid value for partitioned: {erlang_term(value)}", code="invalid_partitioned_value")


def _accept(_value: Any) -> None:
    """Accept any value. ``_parse_fields`` checks the index later."""


_CHECKS: Final = {
    "index": _accept,
    "type": _check_string,
    "name": _check_name,
    "ddoc": _check_name,
    "w": _check_positive,
    "partitioned": _check_partitioned,
}
"""The check of each member of an index request."""


def _missing_key(key: str) -> BadRequestError:
    return BadRequestError(f"Missing required key: {key}", code="missing_required_key")


# --- names


def _automatic_name(options: Mapping[str, Any]) -> str:
    """Return the name of an index that the request does not name.

    As in CouchDB it is the SHA-1 hash of an Erlang term: the definition, and the options sorted by name.
    """
    partitioned = options["partitioned"]
    named = [
        (Atom("ddoc"), options["ddoc"] or Atom("auto_name")),
        (Atom("def"), options["index"]),
        (Atom("name"), options["name"] or Atom("auto_name")),
        (Atom("partitioned"), Atom("db_default") if partitioned is None else partitioned),
        (Atom("type"), options["type"]),
        (Atom("w"), options["w"]),
    ]
    return hashlib.sha1(term_to_binary((options["index"], named)), usedforsecurity=False).hexdigest()
