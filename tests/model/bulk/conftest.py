"""The repository of bulk writes."""

import pytest

from couchmodel import (
    Repository,
)
from couchmodel._model.store.bulk import chunks
from couchmodel.engine import Database
from tests.model.bulk.models import LENGTH, Note


@pytest.fixture
def notes(database: Database, monkeypatch: pytest.MonkeyPatch) -> Repository[Note]:
    monkeypatch.setattr(chunks, "CHUNK", LENGTH)
    return Repository(Note, database)
