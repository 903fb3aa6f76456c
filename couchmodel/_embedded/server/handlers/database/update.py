"""Update functions: functions of design documents that turn a request into a document and an answer."""

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from couchmodel._embedded.documents.design_functions import Function, open_function
from couchmodel._embedded.documents.incoming import parse_document, validate_id
from couchmodel._embedded.documents.reader import ReadOptions, open_winner
from couchmodel._embedded.javascript.turns import run
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.database.database import describe
from couchmodel._embedded.server.handlers.document.document import write_revision
from couchmodel._embedded.server.request_object import request_object
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import JSON_TYPE, Response, encode
from couchmodel.errors import NotFoundError, ServerError

__all__ = ["refuse_path", "update"]


FRAMING: Final = frozenset(("connection", "content-length", "trailer", "transfer-encoding", "upgrade"))
"""Headers that a function cannot set, since they control how the answer is sent."""

_POLICY: Final = "content-security-policy"
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name: a token of RFC 9110, section 5.6.2."""


class _UpdateCall(NamedTuple):
    """The arguments of an update: the function, the document as JSON, and the members of ``GET /{db}``."""

    function: Function
    document: bytes | None
    info: Mapping[str, Any]


async def refuse_path(exchange: Exchange) -> Response:
    """Refuse ``/{db}/_design/{ddoc}/_update``. Raises NotFoundError."""
    raise NotFoundError("Invalid path.", code="update_error")


async def update(exchange: Exchange) -> Response:
    """Answer ``/{db}/_design/{ddoc}/_update/{function}`` and ``…/{document}``, by any method but GET."""
    database, arguments = exchange.database, exchange.arguments
    id = arguments["document"] or None
    call = await exchange.store.read(_open_call, database, arguments["ddoc"], arguments["function"], id)
    body = await exchange.request.read()

    def call_function() -> Any:
        request_json = request_object(exchange, body.decode(errors="replace"), call.info, id)
        return call.function.call("update", call.document or b"null", request_json)

    document, answer = await run(database.scripts, call_function)
    writes = isinstance(document, dict)
    response = _function_response(answer, 201 if writes else 200)
    if writes:
        written = await _save(exchange, document)
        # The function's own headers win.
        response.headers = {**written, **response.headers}
    return response


def _open_call(connection: Connection, database: Database, design: str, name: str, id: str | None) -> _UpdateCall:
    function = open_function(connection, database, design, ("updates", name))
    document = None
    if id is not None:
        try:
            document = open_winner(connection, database.number, id, ReadOptions(revs=True)).text
        except NotFoundError:
            document = None
    return _UpdateCall(function, document, describe(connection, database))


async def _save(exchange: Exchange, document: dict[str, Any]) -> dict[str, str]:
    """Write the document, and return the headers that name its new revision."""
    edit = await asyncio.to_thread(parse_document, document)
    validate_id(edit.id)
    rev = await write_revision(exchange, edit)
    return {"x-couch-update-newrev": rev} | ({"x-couch-id": edit.id} if edit.id.isprintable() else {})


# --- the answer


def _function_response(members: Mapping[str, Any], status: int) -> Response:
    """Make a response from the object that a function returned.

    Its members are ``code``, ``headers``, and one of ``json``, ``body`` and ``base64``.

    Raises:
        ServerError: the object has another member, or a value that no response can have.
    """
    content, content_type, isolated = b"", JSON_TYPE, True
    headers: dict[str, str] = {}
    for name, value in members.items():
        match name, value:
            case "code", int() if not isinstance(value, bool):
                status = value
            case "headers", dict():
                headers = {
                    key.lower(): _header_value(key, text) for key, text in value.items() if key.lower() not in FRAMING
                }
            case "json", _:
                content, content_type, isolated = encode(value) + b"\n", JSON_TYPE, False
            case "body", str():
                content, content_type = value.encode(), "text/html; charset=utf-8"
            case "base64", str():
                content, content_type = _decode_base64(value), "application/binary"
            case _:
                raise _invalid(name, value)
    if not 200 <= status <= 999:
        raise _invalid("code", status)
    if isolated:
        # A page made by a design document must not act with the session of the user who opens it.
        headers[_POLICY] = f"sandbox, {headers[_POLICY]}" if _POLICY in headers else "sandbox"
    return Response(status, {"content-type": content_type, **headers}, content)


def _header_value(name: str, value: Any) -> str:
    if not isinstance(value, str) or not (_HEADER.fullmatch(name) and value.isprintable()):
        raise _invalid(name, value)
    return value


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _invalid("base64", text) from None


def _invalid(name: str, value: Any) -> ServerError:
    term = f"{{{erlang_term(name, readable=True)},{erlang_term(value, readable=True)}}}"
    return ServerError(f"Invalid data from external server: {term}", code="external_response_error")
