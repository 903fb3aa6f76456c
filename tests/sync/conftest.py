"""Databases to replicate between: one of each backend, and another that is embedded, or the first one's neighbour."""

import secrets
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from couchmodel import Connection, NotFoundError, connect
from couchmodel.engine import Database


@pytest.fixture
async def elsewhere() -> AsyncIterator[Database]:
    """A new, empty database of a store in memory."""
    async with connect("memory:") as couch:
        yield await couch.create("elsewhere")


@pytest.fixture
async def neighbour(couch: Connection) -> AsyncIterator[Database]:
    """A database of the backend, which is not there yet."""
    database = couch.database(f"test-{secrets.token_hex(6)}")
    yield database
    with suppress(NotFoundError):
        await database.delete()
