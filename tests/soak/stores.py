"""The store that is soaked: behind a server of its own process, in this process, or at any address."""

import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from couchmodel import upkeep
from couchmodel.transports import RetryPolicy, Transport, open_transport
from tests.workload.child import Child
from tests.workload.observer import Observer, Report
from tests.workload.problems import Problems

__all__ = ["Soaked", "open_store"]


@dataclass
class Soaked:
    """A store: the way to it, how it reaches itself, and the process it is in, if that is another."""

    transport: Transport
    url: str | None
    child: Child | None = None


@asynccontextmanager
async def open_store(
    url: str, clients: int, limit: float, tell: Callable[[Report], None], problems: Problems
) -> AsyncGenerator[Soaked]:
    """A context with the store. At its end the store is closed, and its file is checked."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(url.removeprefix("sqlite:")) if url.startswith("sqlite:") else Path(folder, "store.db")
        if url == "serve":
            async with _served(file, clients, limit, tell, problems) as soaked:
                yield soaked
        elif url.startswith("http"):
            transport = _transport(url, clients)
            yield Soaked(transport, url)
            await transport.close()
        else:
            transport = _transport(url, clients)
            observer = Observer(limit, tell)
            observer.start()
            yield Soaked(transport, None)
            observer.stop()
            await transport.close()
        if file.exists():
            for problem in (await upkeep.check(file)).problems:
                problems.add("the file is not whole", str(problem))


@asynccontextmanager
async def _served(
    file: Path, clients: int, limit: float, tell: Callable[[Report], None], problems: Problems
) -> AsyncGenerator[Soaked]:
    child = await Child.spawn(file, limit, tell)
    await child.wait_until_ready()
    transport = _transport(child.url, clients)
    try:
        yield Soaked(transport, child.url, child)
    finally:
        await transport.close()
        if not await child.end():
            problems.add("the server did not end when it was told to", child.said())
        elif said := child.said():
            problems.add("the server wrote to its log", said)


def _transport(url: str, clients: int) -> Transport:
    # A repeat would hide an error.
    retry_policy = RetryPolicy(attempts=1, read_timeout=120.0, connect=60.0)
    return open_transport(url, retry_policy=retry_policy, connections=4 * clients + 20)
