"""A store survives the sudden death of its process: what was acknowledged is there, and nothing is broken."""

import sys
from pathlib import Path

import pytest

from tests.embedded import killing


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_every_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    assert killing.play(tmp_path / "store.db", 10) > 100
