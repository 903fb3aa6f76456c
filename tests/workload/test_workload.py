"""What the soak and the kills rest on: that a fault is seen."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import pytest

from couchmodel.transports import open_transport
from tests.soak.growth import check_growth
from tests.workload.client import Client, Place
from tests.workload.crowd import Crowd, prepare
from tests.workload.ledger import State
from tests.workload.observer import Observer, Report
from tests.workload.problems import Problems, WrongError


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    transport = open_transport("memory:")
    place = Place(transport, "", 1, None)
    await prepare(place)
    yield place
    await transport.close()


@pytest.fixture
async def client(place: Place) -> Client:
    """A client with one document."""
    client = Client(place, "c0")
    kept = client.kept[0]
    await client.write(kept, State(1), "PUT", body=client.body(kept, State(1)))
    return client


def told(reports: list[Report]) -> list[str]:
    return [report["problem"] for report in reports if "problem" in report]


def compute() -> None:
    """Hold the loop by work."""
    end = time.thread_time() + 0.4
    while time.thread_time() < end:
        pass


def sleep() -> None:
    """Hold the loop by a wait that is none for a disk."""
    time.sleep(0.4)


@pytest.mark.parametrize("hold", [compute, sleep])
async def test_a_loop_that_is_held_is_told_with_its_place(hold: Callable[[], None]) -> None:
    reports: list[Report] = []
    observer = Observer(0.1, reports.append)
    observer.start()
    for _ in range(25):  # on a busy machine, the observer may look when it is over
        await asyncio.sleep(0.2)
        hold()
        if "test_a_loop_that_is_held" in str(reports):
            break
    observer.stop()
    assert "the loop was held above 100 ms" in told(reports)
    assert "test_a_loop_that_is_held" in str(reports)


async def test_a_loop_that_runs_is_not_told() -> None:
    reports: list[Report] = []
    observer = Observer(0.1, reports.append)
    observer.start()
    for _ in range(20):
        await asyncio.sleep(0.005)
    observer.stop()
    assert told(reports) == []


async def test_an_error_that_is_logged_is_told() -> None:
    reports: list[Report] = []
    observer = Observer(10.0, reports.append)
    observer.start()
    logging.getLogger("couchmodel.embedded").error("a job failed")
    observer.stop()
    assert told(reports) == ["couchmodel.embedded logs ERROR"]


async def test_a_write_that_is_lost_is_told(client: Client) -> None:
    await client.verify()
    kept = client.kept[0]
    await client.ask("DELETE", kept.database, kept.id, query={"rev": str(kept.rev)})
    with pytest.raises(WrongError, match="not as it was written"):
        await client.verify()


async def test_a_write_without_an_answer_may_be_there_or_not(client: Client) -> None:
    kept = client.kept[0]
    kept.doubts = [State(2)]
    await client.verify()
    await client.ask("PUT", kept.database, kept.id, body=client.body(kept, State(2)))
    await client.verify()
    assert kept.state == State(2)


async def test_an_unexpected_status_is_told(client: Client) -> None:
    with pytest.raises(WrongError, match="GET /shared/… answers 404: not_found: missing"):
        await client.ask("GET", client.kept[0].database, "missing")


async def test_a_crowd_finds_nothing_wrong_in_a_moment(place: Place) -> None:
    problems = Problems()
    crowd = Crowd(place, ["c0"], problems)
    crowd.start()
    await asyncio.sleep(0.5)
    await crowd.stop(60.0)
    await crowd.verify()
    assert not problems, str(problems)


@pytest.mark.parametrize(
    ("memory", "grown"),
    [
        ([100, 140, 100, 140] * 9, False),
        ([100 + 4 * n for n in range(36)], True),
        ([100, 500] * 3, False),  # too short to say anything
    ],
)
def test_growth_is_that_of_the_lowest_figures(memory: list[float], grown: bool) -> None:
    figures = [{"memory": each, "handles": 10, "threads": 5, "tasks": 5} for each in memory]
    assert bool([*check_growth(figures)]) == grown
