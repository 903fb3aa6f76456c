"""Strict connections, which refuse a query that would read all documents."""

from typing import Any, Final
from weakref import WeakKeyDictionary

from couchmodel._model.query.indexes import indexable_paths
from couchmodel._model.query.selector import all_of
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from couchmodel.engine._io.session import Session
from couchmodel.errors import BadRequestError
from couchmodel.types import JSONObject

__all__ = ["be_strict", "is_strict", "strict_body"]

_FIRST_VERSION: Final = (3, 5)
"""The first version of CouchDB that knows ``allow_fallback``."""

_knows_option: Final[WeakKeyDictionary[Session, bool | None]] = WeakKeyDictionary()
"""The strict sessions, and whether their servers know ``allow_fallback``; None if that is not known yet."""


def be_strict(session: Session) -> None:
    """Refuse the queries of a session that no index serves."""
    _knows_option[session] = None


def is_strict(session: Session) -> bool:
    """Return True if queries of the session that no index serves are refused."""
    return session in _knows_option


async def strict_body(database: Database, body: JSONObject, everything: JSONObject) -> JSONObject:
    """Return the body of ``_find`` of a query that an index has to serve.

    CouchDB refuses it by itself from version 3.5 on. An older server is asked by ``_explain``. A query by ids needs no
    index, nor does one for all documents of a model, which have the selector ``everything``. Raises BadRequestError
    with the code ``invalid_index`` if no index serves the query.
    """
    selector, is_sorted_by_id = _without_all_ids(body["selector"])
    if selector == everything or "_id" in indexable_paths(selector):
        return body
    if is_sorted_by_id:  # CouchDB takes the order of ids for an index, and reads all documents in it
        raise BadRequestError("No index serves the query in the order of ids.", code="invalid_index")
    session = database.session
    if _knows_option[session] is None:
        _knows_option[session] = _version(await session.get(())) >= _FIRST_VERSION
    if _knows_option[session]:
        return {**body, "allow_fallback": False}
    answer = await session.json(Request("POST", (*database.path, "_explain"), body=encode(body)))
    # The index of all documents, ``_all_docs``, has no design document.
    if answer["index"]["ddoc"] is None:
        raise BadRequestError("No index serves the query.", code="invalid_index")
    return body


def _without_all_ids(selector: JSONObject) -> tuple[JSONObject, bool]:
    """Return a selector without the condition that all ids meet, which a sort by ids needs; and whether it had it."""
    parts = selector["$and"] if selector.keys() == {"$and"} else [selector]
    others = [part for part in parts if part != {"_id": {"$gt": None}}]
    return all_of(*others), len(others) < len(parts)


def _version(welcome: Any) -> tuple[int, ...]:
    numbers = str(welcome.get("version", "")).split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdecimal())
