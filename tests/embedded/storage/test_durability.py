"""A store survives the sudden death of its process: what was acknowledged is there, and nothing is broken."""

import sys
from pathlib import Path

import pytest

from tests.kills.killing import Kills


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
async def test_every_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    kills = Kills(tmp_path, clients=4)
    await kills.play(4)
    assert not kills.problems, str(kills.problems)
    assert kills.rounds == 4
