"""Update functions: a function of a design document that makes a document of a request, and an answer."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from couchmodel._embedded.documents import Wishes, open_winner
from couchmodel._embedded.edits import parse_document, validate_id
from couchmodel._embedded.erlang import erlang_term
from couchmodel._embedded.functions import Function, open_function, seen
from couchmodel._embedded.handlers.database import describe
from couchmodel._embedded.handlers.document import write
from couchmodel._embedded.sqlite import Connection
from couchmodel._embedded.store import Database, Store
from couchmodel._wire.messages import JSON_TYPE, Request, Response, encode
from couchmodel._wire.users import User
from couchmodel.errors import NotFoundError, ServerError

__all__ = ["update"]


class _Subject(NamedTuple):
    """What an update is about."""

    function: Function
    document: bytes | None
    info: Mapping[str, Any]


async def update(store: Store, database: Database, request: Request) -> Response:
    """``/{db}/_design/{design}/_update/{function}`` and ``…/{document}``, by any method but GET."""
    _, _, design, _, *names = request.path
    if not names:
        raise NotFoundError("Invalid path.", code="update_error")
    id = "/".join(names[1:]) or None
    subject = await store.read(partial(_open, database, design, names[0], id))
    body = (await request.read()).decode(errors="replace")
    told = seen(store, database, request, body, subject.info, id)
    document, answer = await asyncio.to_thread(subject.function.call, "update", subject.document or b"null", told)
    headers: dict[str, str] = {}
    if isinstance(document, dict):
        headers = await _save(store, database, document, request.user)
    return _answer(answer, 201 if headers else 200, headers)


def _open(database: Database, design: str, name: str, id: str | None, connection: Connection) -> _Subject:
    function = open_function(database, design, ("updates", name), connection)
    document = None
    if id is not None:
        try:
            document = open_winner(database.number, id, Wishes(revs=True), connection).text
        except NotFoundError:
            document = None
    return _Subject(function, document, describe(database, connection))


async def _save(store: Store, database: Database, document: dict[str, Any], user: User) -> dict[str, str]:
    """Write the document, and the headers that say so."""
    edit = await asyncio.to_thread(parse_document, document)
    validate_id(edit.id)
    rev = await write(store, database, edit, user)
    return {"x-couch-update-newrev": rev, "x-couch-id": edit.id}


# --- the answer


def _answer(members: Mapping[str, Any], status: int, headers: dict[str, str]) -> Response:
    """What a function says of its answer: ``code``, ``headers``, and ``json``, ``body`` or ``base64``.

    Raises:
        ServerError: it says something that no answer has.
    """
    content, content_type, isolated = b"", JSON_TYPE, True
    given: dict[str, str] = {}
    for name, value in members.items():
        match name, value:
            case "code", int():
                status = value
            case "headers", dict():
                given = {key.lower(): _text(key, text) for key, text in value.items()}
            case "json", _:
                content, content_type, isolated = encode(value) + b"\n", JSON_TYPE, False
            case "body", str():
                content, content_type = value.encode(), "text/html; charset=utf-8"
            case "base64", str():
                content, content_type = _decoded(value), "application/binary"
            case _:
                raise _invalid(name, value)
    if not 100 <= status <= 999:
        raise _invalid("code", status)
    # A page that a design document has made does nothing in the name of whoever looks at it.
    policy = {"content-security-policy": "sandbox"} if isolated else {}
    return Response(status, {"content-type": content_type, **policy, **headers, **given}, content)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not (name.isascii() and value.isprintable()):
        raise _invalid(name, value)
    return value


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _invalid("base64", text) from None


def _invalid(name: str, value: Any) -> ServerError:
    term = f"{{{erlang_term(name, readable=True)},{erlang_term(value, readable=True)}}}"
    return ServerError(f"Invalid data from external server: {term}", code="external_response_error")
