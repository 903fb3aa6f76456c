"""Changes of documents as server-sent events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import quote

from pydantic_core import to_json

from couchmodel._model.store.repository import Repository
from couchmodel.integrations._core.shown.documents import show_json

__all__ = ["EVENT_STREAM_TYPE", "change_events", "find_sequence"]

EVENT_STREAM_TYPE: Final = "text/event-stream"

_HEARTBEAT_SECONDS: Final = 15.0
"""The seconds after which a comment is sent, so that proxies and clients see that the connection lives."""

# The wait of a client that was cut off. Without it, browsers choose: Chrome takes 3 seconds, Firefox 5.
_RETRY_MILLISECONDS: Final = 2000


async def find_sequence(repository: Repository[Any], since: str) -> str:
    """Return the sequence from which a feed goes on.

    Raises BadRequestError if ``since`` is none, NotFoundError if the database is missing.
    """
    # A feed fails at its first row, after a status was sent. This request fails before that.
    answer = await repository.session.get((*repository.path, "_changes"), {"since": since, "limit": "1"})
    return str(answer["last_seq"]) if since == "now" else since


async def change_events(
    repository: Repository[Any], since: str, url: str, heartbeat: float = _HEARTBEAT_SECONDS
) -> AsyncGenerator[bytes, None]:
    """Yield the changes of documents after a sequence as events named ``changed`` and ``deleted``.

    The id of an event is its sequence. It ends when its consumer closes it.
    """
    # The first event has the sequence alone, so that a client which is cut off before any change comes back to this
    # place.
    yield f"retry: {_RETRY_MILLISECONDS}\nid: {since}\n\n".encode()
    async with aclosing(repository.changes(since=since, on_invalid="skip")) as feed:
        changes = aiter(feed)
        while True:
            try:
                # The feed can be cancelled while it waits: the next wait goes on.
                change = await asyncio.wait_for(anext(changes), heartbeat)
            except TimeoutError:
                yield b":\n\n"
                continue
            except StopAsyncIteration:
                return
            if change.deleted or change.document is None:
                yield _event("deleted", change.seq, to_json({"id": change.id, "rev": change.rev}))
            else:
                yield _event("changed", change.seq, show_json(change.document, f"{url}/{quote(change.id, safe='')}"))


def _event(name: str, sequence: str, data: bytes) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), sequence.encode(), data)
