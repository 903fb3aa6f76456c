"""The command line of the kills."""

import argparse
import asyncio
import math
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.kills.killing import Kills


def main() -> int:
    """Play the rounds, print the figures, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description="Kill a server while it is used.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so many, whatever rounds are left")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where the files stay; a temporary one without it")
    given = parser.parse_args()
    seed = random.getrandbits(32) if given.seed is None else given.seed
    random.seed(seed)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(given.folder or Path(folder), given.clients)
        asyncio.run(kills.play(given.rounds, given.minutes * 60))
    print(
        f"{kills.rounds:,} kills in {time.perf_counter() - begun:.0f} s; {kills.files + 1} files, "
        f"{kills.requests:,} requests, {kills.writes:,} acknowledged writes, {len(kills.problems):,} problems; "
        f"seed {seed}"
    )
    if kills.problems:
        print(kills.problems, file=sys.stderr)
    return 1 if kills.problems else 0


if __name__ == "__main__":
    sys.exit(main())
