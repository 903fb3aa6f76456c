"""The fixtures of the tests of buckets."""

import pytest

from couchmodel.bucket import Bucket
from couchmodel.engine import Database


@pytest.fixture
def bucket(database: Database) -> Bucket:
    """A bucket with small chunks in a new database."""
    return Bucket(database, chunk_size_bytes=16)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Makes the parts of new uploads small, so that a short content has several, and returns their size."""
    monkeypatch.setattr("couchmodel.bucket.content_writer.PART_BYTES", 64)
    return 64
