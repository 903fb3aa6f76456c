"""Mango indexes: make, list and remove them."""

from functools import partial
from typing import Any, Final

from couchmodel._embedded.documents.incoming import parse_document, validate_id
from couchmodel._embedded.documents.reader import winner
from couchmodel._embedded.documents.writer import Writing
from couchmodel._embedded.json.parse import parse_query
from couchmodel._embedded.mango.planner import ALL_DOCS
from couchmodel._embedded.rules.params import require_json_type, whole_number
from couchmodel._embedded.server.request_body import LARGE_QUERY, parsed, read_text
from couchmodel._embedded.server.responses import OK, json_answer
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._embedded.views.designs import QUERY
from couchmodel._embedded.views.mango_indexes import (
    Definition,
    parse_definition,
    parse_removal,
    read_catalogue,
    shown,
    with_index,
    without_index,
)
from couchmodel._wire.messages import Request, Response, decode
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = ["create", "delete", "delete_many", "list_indexes"]


async def create(store: Store, database: Database, request: Request) -> Response:
    """``POST /{db}/_index``."""
    require_json_type(request)
    definition = await parsed(await read_text(request), _definition, LARGE_QUERY)
    result = await store.write(partial(_create, database.number, definition), committed=database.notify)
    return json_answer(200, {"result": result, "id": definition.design, "name": definition.name})


def _definition(text: bytes) -> Definition:
    definition = parse_definition(parse_query(text))
    validate_id(definition.design)
    return definition


async def list_indexes(store: Store, database: Database, request: Request) -> Response:
    """``GET /{db}/_index``."""
    indexes = [ALL_DOCS, *(await store.read(partial(read_catalogue, database))).indexes]
    skip = _parameter(request, "skip", 0, lowest=0)
    limit = _parameter(request, "limit", len(indexes), lowest=1)
    listed = [shown(index) for index in indexes[skip : skip + limit]]
    return json_answer(200, {"total_rows": len(indexes), "indexes": listed})


async def delete(store: Store, database: Database, request: Request) -> Response:
    """``DELETE /{db}/_index/{design}/{type}/{name}``."""
    *design, kind, name = request.path[2:]
    id = _design_id("/".join(design))
    if kind != "json":
        raise NotFoundError("missing")
    await store.write(partial(_delete, database, id, name), committed=database.notify)
    return json_answer(200, OK)


async def delete_many(store: Store, database: Database, request: Request) -> Response:
    """``POST /{db}/_index/_bulk_delete``."""
    require_json_type(request)
    listed = parse_removal(await parsed(await read_text(request), parse_query))
    success: list[dict[str, Any]] = []
    fail: list[dict[str, Any]] = []
    for id in map(_design_id, listed):
        try:
            await store.write(partial(_delete, database, id, None), committed=database.notify)
            success.append({"id": id, "ok": True})
        except NotFoundError as error:
            fail.append({"id": id, "error": error.code})
    return json_answer(200, {"success": success[::-1], "fail": fail[::-1]})


def _design_id(name: str) -> str:
    return name if name.startswith("_design/") else f"_design/{name}"


def _parameter(request: Request, name: str, default: int, *, lowest: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or whole_number(text) < lowest:
        reason = "Index parameter ranges: limit > 1, skip > 0"
        raise BadRequestError(reason, code="invalid_list_index_params", status=500)
    return whole_number(text)


def _create(database: int, definition: Definition, connection: Connection) -> str:
    design, rev = _design(connection, database, definition.design)
    changed = with_index(design, definition)
    if changed == design:
        return "exists"
    _write(connection, database, definition.design, changed, rev)
    return "created"


def _delete(database: Database, id: str, name: str | None, connection: Connection) -> None:
    """Remove the index of that name from a design document, or its only one."""
    indexes = [index for index in read_catalogue(database, connection).indexes if index.design == id]
    found = [index for index in indexes if name in (None, index.name)]
    design, rev = _design(connection, database.number, id)
    if len(found) != 1 or design is None:
        raise NotFoundError("missing")
    changed = without_index(design, found[0].name)
    _write(connection, database.number, id, {"_deleted": True} if changed == _EMPTY else changed, rev)


_EMPTY: Final = {"language": QUERY}


def _design(connection: Connection, database: int, id: str) -> tuple[dict[str, Any] | None, Rev | None]:
    found = winner(database, id, connection)
    if found is None or found.deleted:
        return None, None
    return decode(found.body), Rev.parse(found.rev)


def _write(connection: Connection, database: int, id: str, body: dict[str, Any], rev: Rev | None) -> None:
    edit = parse_document(body, id=id)
    edit.path = [rev] if rev else []
    writing = Writing(connection, database)
    writing.edit(edit)
    writing.finish()
