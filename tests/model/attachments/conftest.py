"""The fixtures of tests of attachments."""

from dataclasses import replace

import pytest

from couchmodel import Connection
from couchmodel.engine import Database
from tests.model.attachments.pictures import Picture


@pytest.fixture
async def pictures(couch: Connection, database: Database, monkeypatch: pytest.MonkeyPatch) -> type[Picture]:
    """The model of pictures, bound to a new database."""
    monkeypatch.setattr(Picture, "__declared__", replace(Picture.__declared__, database=database.id))
    await couch.apply(Picture)
    return Picture


@pytest.fixture
async def pie(pictures: type[Picture]) -> Picture:
    """A stored picture without attachments."""
    pie = pictures(id="pie")
    await pie.save()
    return pie
