"""Rounds of clients, a kill and a look at what is left."""

import asyncio
import math
import random
import time
from pathlib import Path

from couchmodel import upkeep
from couchmodel.transports import RetryPolicy, open_transport
from tests.workload.child import Child, StartError
from tests.workload.client import Place
from tests.workload.crowd import Crowd, prepare
from tests.workload.observer import Report
from tests.workload.problems import Problems

__all__ = ["Kills"]

_LONGEST = 2.0
"""Seconds that clients work at most before a kill."""

_STARTING = 0.15, 1.5
"""How often a kill comes while a server starts, and the seconds in which it does so."""

_FRESH = 0.05
"""How often a file is given up for a new one."""

_STOPPING = 20.0


class Kills:
    """Some rounds. ``problems`` is what was found; ``writes`` counts what was acknowledged."""

    def __init__(self, folder: Path, clients: int) -> None:
        self.problems = Problems()
        self.rounds = self.writes = self.requests = self.files = 0
        self._folder = folder
        self._clients = clients
        self._crowd: Crowd | None = None

    async def play(self, rounds: int, seconds: float = math.inf) -> None:
        """Kill so many times, or for so many seconds; end at the first round with a problem."""
        end = time.monotonic() + seconds
        file = self._folder / "store-0.db"
        while self.rounds < rounds and time.monotonic() < end and not self.problems:
            if self.rounds and random.random() < _FRESH:
                self.files += 1
                file, self._crowd = self._folder / f"store-{self.files}.db", None
            await self._round(file)
            self.rounds += 1

    async def _round(self, file: Path) -> None:
        child = await Child.spawn(file, math.inf, self._take)
        often, seconds = _STARTING
        if random.random() < often:
            await asyncio.sleep(random.uniform(0, seconds))
        else:
            try:
                await child.wait_until_ready()
            except StartError as error:
                self.problems.add("a server does not start", str(error))
                return
            await self._work(child)
        await child.kill()
        if file.exists():
            for problem in (await upkeep.check(file)).problems:
                self.problems.add("the file is not whole", str(problem))

    async def _work(self, child: Child) -> None:
        """Look at what the last kill has left, let the clients work for a moment, and kill the server."""
        transport = open_transport(child.url, retry_policy=RetryPolicy(attempts=1), connections=4 * self._clients + 20)
        place = Place(transport, "", self._clients, child.url)
        try:
            await prepare(place)
            if self._crowd is None:
                self._crowd = Crowd(place, [f"c{n}" for n in range(self._clients)], self.problems)
            crowd = self._crowd
            crowd.move(place)
            await crowd.verify()
            crowd.start()
            await asyncio.sleep(random.uniform(0, _LONGEST))
            crowd.expect_no_answer()
            await child.kill()
            await crowd.stop(_STOPPING)
        finally:
            await transport.close()
        self.requests += len(place.timings.seconds)
        self.writes += place.timings.writes

    def _take(self, report: Report) -> None:
        if "problem" in report:
            self.problems.add(report["problem"], report["detail"])
