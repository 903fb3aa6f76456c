"""The endpoints of Mango indexes: create, list and delete them."""

from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.documents.incoming import parse_document, validate_id
from couchmodel._embedded.documents.reader import find_winner
from couchmodel._embedded.documents.writer import WriteBatch
from couchmodel._embedded.json.parse import parse_query
from couchmodel._embedded.mango.planner import ALL_DOCS
from couchmodel._embedded.rules.params import parse_digits, require_json_type
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import parse_in_thread, read_text
from couchmodel._embedded.server.responses import OK, json_answer
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.designs import QUERY
from couchmodel._embedded.views.mango_indexes import (
    Definition,
    add_index,
    describe_index,
    parse_definition,
    parse_removal,
    read_catalogue,
    remove_index,
)
from couchmodel._wire.messages import Request, Response, decode
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = ["check_user", "create", "delete", "delete_many", "list_indexes"]


def check_user(exchange: Exchange) -> None:
    """Raise UnauthorizedError or ForbiddenError if the user may not do this to the indexes of the database."""
    security = exchange.database.security
    # As for design documents, which hold the indexes: all members read them, only administrators write them.
    if exchange.request.method != "GET":
        security.require_admin(exchange.user)


async def create(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_index``."""
    database, request = exchange.database, exchange.request
    require_json_type(request)
    definition = await parse_in_thread(await read_text(request), _parse_index, limits.INLINE_QUERY_BYTES)
    result = await exchange.store.write(_create_index, database.number, definition, on_commit=database.notify)
    return json_answer(200, {"result": result, "id": definition.design, "name": definition.name})


def _parse_index(text: bytes) -> Definition:
    definition = parse_definition(parse_query(text))
    validate_id(definition.design)
    return definition


async def list_indexes(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_index``."""
    indexes = [ALL_DOCS, *(await exchange.store.read(read_catalogue, exchange.database)).indexes]
    skip = _integer_parameter(exchange.request, "skip", 0, lowest=0)
    limit = _integer_parameter(exchange.request, "limit", len(indexes), lowest=1)
    page = [describe_index(index) for index in indexes[skip : skip + limit]]
    return json_answer(200, {"total_rows": len(indexes), "indexes": page})


async def delete(exchange: Exchange) -> Response:
    """Answer ``DELETE /{db}/_index/{ddoc}/{type}/{name}``."""
    database, arguments = exchange.database, exchange.arguments
    # The other types are those of Lucene, whose indexes a store does not have.
    if arguments["type"] != "json":
        raise NotFoundError("missing")
    id, name = _design_id(arguments["ddoc"]), arguments["name"]
    await exchange.store.write(_delete_index, database, id, name, on_commit=database.notify)
    return json_answer(200, OK)


async def delete_many(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_index/_bulk_delete``."""
    database, request = exchange.database, exchange.request
    require_json_type(request)
    names = parse_removal(await parse_in_thread(await read_text(request), parse_query))
    success: list[dict[str, Any]] = []
    fail: list[dict[str, Any]] = []
    for id in map(_design_id, names):
        try:
            await exchange.store.write(_delete_index, database, id, None, on_commit=database.notify)
            success.append({"id": id, "ok": True})
        except NotFoundError as error:
            fail.append({"id": id, "error": error.code})
    # CouchDB answers in reverse order.
    return json_answer(200, {"success": success[::-1], "fail": fail[::-1]})


def _design_id(name: str) -> str:
    return name if name.startswith("_design/") else f"_design/{name}"


def _integer_parameter(request: Request, name: str, default: int, *, lowest: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    # CouchDB does not catch this error, so its status is 500.
    if not (text.isascii() and text.isdigit()) or parse_digits(text) < lowest:
        reason = "Index parameter ranges: limit > 1, skip > 0"
        raise BadRequestError(reason, code="invalid_list_index_params", status=500)
    return parse_digits(text)


def _create_index(connection: Connection, database_id: int, definition: Definition) -> str:
    design, rev = _read_design(connection, database_id, definition.design)
    changed = add_index(design, definition)
    # The revision of the design document stays, and so does its index.
    if changed == design:
        return "exists"
    _write_design(connection, database_id, definition.design, changed, rev)
    return "created"


def _delete_index(connection: Connection, database: Database, id: str, name: str | None) -> None:
    """Remove an index from a design document: the one called ``name``, or its only index if that is None.

    Deletes the design document with its last index. Raises NotFoundError if there is no such index.
    """
    indexes = [index for index in read_catalogue(connection, database).indexes if index.design == id]
    found = [index for index in indexes if name in (None, index.name)]
    design, rev = _read_design(connection, database.number, id)
    if len(found) != 1 or design is None:
        raise NotFoundError("missing")
    changed = remove_index(design, found[0].name)
    _write_design(connection, database.number, id, {"_deleted": True} if changed == _EMPTY else changed, rev)


_EMPTY: Final = {"language": QUERY}


def _read_design(connection: Connection, database_id: int, id: str) -> tuple[dict[str, Any] | None, Rev | None]:
    found = find_winner(connection, database_id, id)
    if found is None or found.deleted:
        return None, None
    return decode(found.body), Rev.parse(found.rev)


def _write_design(connection: Connection, database_id: int, id: str, body: dict[str, Any], rev: Rev | None) -> None:
    edit = parse_document(body, id=id)
    # Read in this transaction, so it cannot conflict.
    edit.path = [rev] if rev else []
    writing = WriteBatch(connection, database_id)
    writing.edit(edit)
    writing.finish()
