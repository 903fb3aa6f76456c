"""The connection of an application while it runs."""

import gc
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from couchmodel._model.model import Connection, CouchModel, connect

__all__ = ["connected"]


@asynccontextmanager
async def connected(
    models: Sequence[type[CouchModel]], url: str | None, options: Mapping[str, Any], *, freeze: bool
) -> AsyncGenerator[Connection]:
    """Return a context with an open connection, to which the models are applied."""
    async with connect(url, **options) as couch:
        await couch.apply(*models)
        if freeze:
            # Garbage that exists by now would stay for ever.
            gc.collect()
            gc.freeze()
        try:
            yield couch
        finally:
            if freeze:
                # The process may go on, as that of tests does.
                gc.unfreeze()
