"""Many clients at once."""

import asyncio
import random
import traceback

from couchmodel.errors import TransportError
from tests.workload.client import Client, Place
from tests.workload.jobs import JOBS
from tests.workload.jobs.functions import RULES, rules
from tests.workload.jobs.queries import DECLARED, SCRIPTED, views
from tests.workload.problems import Problems, WrongError

__all__ = ["Crowd", "prepare"]

_PAUSE = 0.05  # seconds after a problem, so that a server that is down is not asked all the time


async def prepare(place: Place) -> None:
    """Create the databases of all clients and their design documents, where they are not there yet."""
    client = Client(place, "prepare")
    designs = {DECLARED: views(DECLARED, 0)}
    if place.has_scripts:
        designs |= {SCRIPTED: views(SCRIPTED, 0), RULES: rules(0)}
    await client.ask("PUT", "_replicator", expected=(201, 412))
    for database in place.shared:
        await client.ask("PUT", database, expected=(201, 412))
        for name, design in designs.items():
            await client.ask("PUT", database, "_design", name, body=design, expected=(201, 409))


class Crowd:
    """Clients that do what comes to their minds until they are told to stop."""

    def __init__(self, place: Place, names: list[str], problems: Problems) -> None:
        self.clients = [Client(place, name) for name in names]
        self._problems = problems
        self._stopping = False
        self._down = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let them begin."""
        self._stopping = self._down = False
        self._tasks = [asyncio.create_task(self._go_on(client)) for client in self.clients]

    def move(self, place: Place) -> None:
        """Let them go on at another place, which has the same store."""
        for client in self.clients:
            client.place = place

    def expect_no_answer(self) -> None:
        """From now on, a request without an answer is no problem, and ends its client."""
        self._down = True

    async def stop(self, seconds: float) -> None:
        """Let them end what they are doing; what takes longer than ``seconds`` is a problem, and is cut off."""
        self._stopping = True
        _, pending = await asyncio.wait(self._tasks, timeout=seconds)
        for task in pending:
            where = "\n".join(
                line.rstrip() for frame in task.get_stack(limit=3) for line in traceback.format_stack(frame)
            )
            self._problems.add(f"a client has not ended in {seconds:.0f} s", where[-1500:])
            task.cancel()
        await asyncio.wait(self._tasks)

    async def give_up(self) -> None:
        """End all of them at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def verify(self) -> None:
        """Have each of them read all that it has written."""
        for client in self.clients:
            await self._guarded(client.verify(), client)

    async def _go_on(self, client: Client) -> None:
        jobs, weights = list(JOBS), list(JOBS.values())
        while not self._stopping and not self._down:
            job = random.choices(jobs, weights)[0]
            await self._guarded(job(client), client)

    async def _guarded(self, work: object, client: Client) -> None:
        try:
            await work  # type: ignore[misc]
        except WrongError as error:
            self._problems.add(str(error), error.detail)
            await asyncio.sleep(_PAUSE)
        except TransportError as error:
            if not self._down:
                self._problems.add(f"no answer: {type(error).__name__}", str(error))
                await asyncio.sleep(_PAUSE)
        except Exception as error:  # noqa: BLE001 - one client's surprise does not end the others
            if not self._down:
                self._problems.add(f"{type(error).__name__}: {error}", traceback.format_exc()[-2000:])
                await asyncio.sleep(_PAUSE)
