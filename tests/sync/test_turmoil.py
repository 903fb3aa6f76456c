"""Replications that are disturbed in every way come to the same end, and name what they could not bring."""

from pathlib import Path

import pytest

from couchmodel._retry import Backoff
from tests.sync.turmoil import KINDS, Turmoil


@pytest.mark.parametrize("seed", [1, 2])
async def test_all_others_arrive_whatever_happens(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.BACKOFF_SECONDS", 0.1)
    monkeypatch.setattr("couchmodel._replication.peer._BACKOFF", Backoff(0.001))
    monkeypatch.setattr("couchmodel._replication.transfer._BACKOFF", Backoff(0.001))
    figures = await Turmoil(seed).run(tmp_path, len(KINDS), 3)
    assert (figures.differing, figures.unnamed) == ([], [])
