"""Requests that the engine has no words for."""

from collections.abc import Mapping
from typing import Any

from couchmodel._wire.messages import Request, Response, encode, parse_target
from couchmodel.engine import Database


async def call(
    database: Database, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Any:
    """The JSON that a request to a database is answered with, ``target`` being what follows its name."""
    path, query = parse_target(target)
    sent = {"content-type": "application/json", **(headers or {})}
    request = Request(
        method,
        (*database.path, *path),
        query=query,
        headers=sent,
        body=b"" if body is None else encode(body),
    )
    return (await database.session.send(request)).json()


async def ask(
    database: Database, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to a request to a database, whole; one that is an error is raised."""
    path, query = parse_target(target)
    request = Request(method, (*database.path, *path), query=query, headers=headers or {}, body=body)
    answer = await database.session.send(request)
    await answer.collect()
    return answer
