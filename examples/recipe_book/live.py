"""Changes as server-sent events, with which open pages keep up."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from .models import Recipe

router = APIRouter()

_HEARTBEAT_SECONDS: Final = 20
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


async def current_sequence() -> str:
    """Return the sequence of the last change. A page that was made now wants the changes after it."""
    info = await Recipe.repository().database.info()
    return str(info["update_seq"])


@router.get("/events")
async def send_changes(request: Request, since: str = "now") -> Response:
    begin = request.headers.get("last-event-id", since)
    return StreamingResponse(_events(begin), media_type="text/event-stream", headers=_HEADERS)


async def _events(since: str) -> AsyncGenerator[str, None]:
    async with aclosing(Recipe.changes(since=since, on_invalid="skip")) as changes:
        while True:
            try:
                change = await asyncio.wait_for(anext(changes), _HEARTBEAT_SECONDS)
            except TimeoutError:
                yield ": nothing new\n\n"  # so that proxies keep the connection, and a closed one is noticed
                continue
            by = change.document.changed_by if change.document else ""
            told = {"id": change.id, "rev": change.rev, "deleted": change.deleted, "by": by}
            yield f"id: {change.seq}\ndata: {json.dumps(told)}\n\n"
