"""The command line of the soak."""

import argparse
import asyncio
import random
import sys
import time
from typing import Any

from tests.soak.growth import check_growth
from tests.soak.stores import Soaked, open_store
from tests.workload.client import Place, Timings
from tests.workload.crowd import Crowd, prepare
from tests.workload.observer import Report
from tests.workload.problems import Problems

FROZEN = 30.0
"""Seconds without any answer, after which the server counts as frozen."""

STOPPING = 90.0
QUIET = 3.0
"""Seconds that clients have to end, and those after which a store without clients has let go of what they had."""

SETTLING = 60.0
"""Seconds for idle handles to be closed."""

SPARE = 10
"""Handles that a store may have more than before it was used."""

MOST_PROBLEMS = 20_000
"""A soak with more problems than that ends early."""


class Soak:
    """One soak."""

    def __init__(self, url: str, minutes: float, clients: int, limit: float) -> None:
        """``limit`` is for how many seconds the loop may be held."""
        self.problems = Problems()
        self._url = url
        self._seconds = minutes * 60
        self._clients = clients
        self._limit = limit
        self._figures: list[dict[str, Any]] = []
        self._steady = 0

    async def run(self) -> str:
        """Let the clients work for the time, and return the line of figures."""
        async with open_store(self._url, self._clients, self._limit, self._take, self.problems) as soaked:
            # Databases have names of their own where others may use the server, too.
            prefix = f"soak-{random.getrandbits(32):08x}-" if self._url.startswith("http") else ""
            place = Place(soaked.transport, prefix, self._clients, soaked.url)
            if soaked.child is not None:
                place.on_silence = soaked.child.dump_tasks
            await prepare(place)
            crowd = Crowd(place, [f"c{n}" for n in range(self._clients)], self.problems)
            before = self._last()
            begun = time.perf_counter()
            crowd.start()
            alive = await self._wait(soaked, place.timings)
            seconds = time.perf_counter() - begun
            count = len(place.timings.seconds)
            steady = self._figures[self._steady :]
            if alive:
                await crowd.stop(STOPPING)
                await crowd.verify()
            else:
                await crowd.give_up()
            if prefix:
                await _remove(place, crowd)
            await soaked.transport.close() if soaked.child is not None else None
            await asyncio.sleep(QUIET)
            await self._wait_for_handles(before)
        for what, detail in check_growth(steady):
            self.problems.add(what, detail)
        if alive:
            self._check_handles(before)
        return self._line(place.timings.seconds[:count], seconds, steady, before)

    def _take(self, report: Report) -> None:
        if "problem" in report:
            self.problems.add(report["problem"], report["detail"])
        else:
            self._figures.append(report["figures"])

    async def _wait(self, soaked: Soaked, timings: Timings) -> bool:
        """Wait until the time is over; whether there were answers all the time."""
        end = time.monotonic() + self._seconds
        warm = time.monotonic() + max(self._seconds / 5, min(15.0, self._seconds / 2))
        while (now := time.monotonic()) < end:
            await asyncio.sleep(0.2)
            if now < warm:
                self._steady = len(self._figures)
            if now - timings.last > FROZEN:
                said = ""
                if soaked.child is not None:
                    await soaked.child.dump()
                    said = soaked.child.said()
                self.problems.add(f"the server is frozen: no answer for {FROZEN:.0f} s", said)
                return False
            if len(self.problems) > MOST_PROBLEMS:
                self.problems.add("too many problems: it has ended early")
                break
        return True

    def _last(self) -> dict[str, Any]:
        return self._figures[-1] if self._figures else {}

    async def _wait_for_handles(self, before: dict[str, Any]) -> None:
        """Wait while handles are closed: processes of JavaScript end when they were idle for half a minute."""
        for _ in range(round(SETTLING / QUIET)):
            if not before or self._last()["handles"] <= before["handles"] + SPARE:
                break
            await asyncio.sleep(QUIET)

    def _check_handles(self, before: dict[str, Any]) -> None:
        """A store that nobody uses any more has as many handles as before it was used, or a few more."""
        last = self._last()
        if before and last["handles"] > before["handles"] + SPARE:
            said = f"{before['handles']} before there were clients, {last['handles']} when they have gone"
            self.problems.add("handles stay open", said)

    def _line(self, taken: list[float], seconds: float, steady: list[dict[str, Any]], before: dict[str, Any]) -> str:
        taken = sorted(taken) or [0.0]
        p50, p99, longest = (taken[min(len(taken) - 1, int(len(taken) * share))] * 1000 for share in (0.5, 0.99, 1))
        parts = [
            f"{len(taken):,} requests in {seconds:.0f} s, {len(taken) / seconds:,.0f} a second",
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {longest:.0f} ms",
        ]
        if steady:
            last = self._last()
            parts += [
                f"loop held {last['held'] * 1000:.0f} ms at most, and {last['disk'] * 1000:.0f} ms by the disk",
                f"loop late p99 {last['lag_p99'] * 1000:.0f} ms, max {last['lag'] * 1000:.0f} ms",
                f"longest collection {last['collection'] * 1000:.0f} ms",
                f"memory {steady[0]['memory']:.0f} to {steady[-1]['memory']:.0f} MiB",
                f"handles {before['handles']} to {last['handles']}",
            ]
        return "; ".join([*parts, f"{len(self.problems):,} problems"])


async def _remove(place: Place, crowd: Crowd) -> None:
    client = crowd.clients[0]
    for name in (await client.ask("GET", "_all_dbs")).json():
        if name.startswith(place.prefix):
            await client.ask("DELETE", name)


def main() -> int:
    """Run a soak, print its figures, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Use a store for minutes, and watch it.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--url", default="serve", help="serve (a server of its own), memory:, sqlite:FILE, http://…")
    parser.add_argument("--max-lag", type=float, default=100.0, help="milliseconds for which the loop may be held")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.getrandbits(32) if given.seed is None else given.seed
    random.seed(seed)
    soak = Soak(given.url, given.minutes, given.clients, given.max_lag / 1000)
    line = asyncio.run(soak.run())
    print(f"{line}; seed {seed}")
    if soak.problems:
        print(soak.problems, file=sys.stderr)
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
