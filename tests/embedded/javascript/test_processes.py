"""The processes of JavaScript: what ends them, what they are kept from, and when there are none."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from couchmodel import ForbiddenError
from couchmodel._embedded.javascript.engine import LIMITS, Context, Scripts, open_mapper
from couchmodel._embedded.javascript.pool import PROCESSES
from couchmodel.engine import CouchDB
from couchmodel.errors import ResponseError, ServerError
from tests.embedded.javascript.endless import ENDLESS
from tests.engine.requests import call

on_linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it looks into Linux's /proc")
on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")

ENDED = r"OS process timed out\.|\{exit_status,\d+\}"


@pytest.fixture
def scripts() -> Iterator[Scripts]:
    """The functions of a database, whose processes end with the test."""
    scripts = Scripts()
    yield scripts
    scripts.close()


def function(scripts: Scripts, body: str) -> Callable[[], bytes]:
    """A map function that is called with a document; its rows are the answer."""
    context = Context(scripts, ("lib", '{"a": "exports.x = 1"}'), ("addMap", f"function (doc) {{ {body} }}"))
    return lambda: context.run("map", b'[{"_id":"a"}]')


def pids(scripts: Scripts) -> list[int]:
    """The processes of a database's functions."""
    found = [process._popen for process in PROCESSES._all if process.owner is scripts]
    return [popen.pid for popen in found if popen is not None]


def eventually(is_so: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether something is so within some time."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def is_there(pid: int) -> bool:
    """Whether a process is there, and not only its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- what ends a function


@pytest.mark.parametrize("name", ENDLESS)
def test_whatever_never_ends_is_ended(scripts: Scripts, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "call_seconds", 0.05)
    with pytest.raises(ServerError, match=ENDED) as failed:
        function(scripts, ENDLESS[name])()
    assert failed.value.code == "os_process_error"


@pytest.mark.parametrize("name", ["while", "join", "regular expression"])
def test_it_is_ended_after_five_seconds(scripts: Scripts, name: str) -> None:
    began = time.monotonic()
    with pytest.raises(ServerError, match=r"OS process timed out\."):
        function(scripts, ENDLESS[name])()
    assert time.monotonic() - began > 4.5


@pytest.mark.parametrize("name", ["push", "nested arrays", "symbols", "Array.from", "a growing text", "emit"])
def test_a_function_that_takes_all_memory_is_told_as_ended(scripts: Scripts, name: str) -> None:
    with pytest.raises(ServerError) as failed:
        function(scripts, ENDLESS[name])()
    assert (failed.value.code, failed.value.reason) == ("os_process_error", "{exit_status,1}")
    assert function(scripts, "emit(1)")() == b"[[1]]\nnull"


@pytest.mark.parametrize("thrown", ["null", "(null)", "undefined"])
def test_a_function_that_throws_nothing_is_not_taken_for_one_without_memory(scripts: Scripts, thrown: str) -> None:
    with pytest.raises(ResponseError) as failed:
        function(scripts, f"throw {thrown}")()
    assert (failed.value.code, failed.value.reason) == ("TypeError", "{[]}")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_the_system_limits_what_the_engine_does_not(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "memory", 4 * 1024**3)
    monkeypatch.setattr(LIMITS, "process_memory", 100 * 1024**2)
    with pytest.raises(ServerError, match=r"\{exit_status,\d+\}"):
        function(scripts, ENDLESS["push"])()


def test_an_answer_may_not_be_too_large(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "output", 100_000)
    assert len(function(scripts, "emit('x'.repeat(9e4))")()) > 90_000
    with pytest.raises(ServerError, match=r"\{exit_status,1\}"):
        function(scripts, "emit('x'.repeat(2e5))")()


@on_posix
def test_a_process_that_is_killed_while_a_function_runs_is_an_error_of_this_one_call(scripts: Scripts) -> None:
    errors: list[ServerError] = []

    def run() -> None:
        with pytest.raises(ServerError) as failed:
            function(scripts, ENDLESS["join"])()
        errors.append(failed.value)

    thread = threading.Thread(target=run)
    thread.start()
    assert eventually(lambda: any(process.end < float("inf") for process in PROCESSES._all if process.owner is scripts))
    os.kill(pids(scripts)[0], signal.SIGKILL)
    thread.join()
    assert [error.reason for error in errors] == ["{exit_status,137}"]
    assert function(scripts, "emit(1)")() == b"[[1]]\nnull"


@on_posix
def test_a_process_that_is_killed_while_it_waits_is_replaced(scripts: Scripts) -> None:
    emit = function(scripts, "emit(1)")
    assert emit() == b"[[1]]\nnull"
    [pid] = pids(scripts)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert emit() == b"[[1]]\nnull"
    assert pids(scripts) != [pid]


# --- what a function is kept from


def test_no_function_sees_the_globals_of_another() -> None:
    leak = "function (doc) { if (typeof leaked !== 'undefined') emit('seen'); leaked = 1; [].__proto__.leak = 1 }"
    look = "function (doc) { emit([typeof leaked, typeof [].leak]) }"
    mapper = open_mapper({"views": {"a": {"map": leak}, "b": {"map": look}, "c": {"map": look}}})
    unseen = [(["undefined", "undefined"], b"null")]
    assert mapper.map([b'{"_id":"a"}']) == [[[], unseen, unseen]]


@on_linux
async def test_a_process_has_no_descriptor_but_its_pipes(tmp_path: Path) -> None:
    async with CouchDB(f"sqlite:{tmp_path / 'couch.db'}") as couch:
        database = await couch.create("a")
        await call(database, "PUT", "_design/d", {"validate_doc_update": "function () {}"})
        await call(database, "PUT", "x", {})
        [pid] = pids(_checks(couch, "a"))
        opened = {path.name: str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert opened["0"].startswith("pipe:")
    assert opened["1"].startswith("pipe:")
    assert [path for name, path in opened.items() if name not in {"0", "1", "2"}] == []


def _checks(couch: CouchDB, name: str) -> Scripts:
    transport: Any = couch.session._transport
    scripts: Scripts = transport._store.databases[name].validation_scripts
    return scripts


# --- when there are processes


def test_a_process_that_nobody_wants_ends(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    emit = function(scripts, "emit(1)")
    emit()
    assert len(pids(scripts)) == 1
    monkeypatch.setattr(LIMITS, "idle_seconds", 0)
    assert eventually(lambda: pids(scripts) == [])
    assert emit() == b"[[1]]\nnull"


def test_there_are_no_more_processes_than_there_may_be(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "call_seconds", 0.5)
    counts: list[int] = []

    def run() -> None:
        with pytest.raises(ServerError):
            function(scripts, "while (true);")()
        counts.append(len(pids(scripts)))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(counts) <= LIMITS.processes_per_owner


def test_calls_that_wait_for_a_process_have_their_turns_in_order(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "processes_per_owner", 1)
    monkeypatch.setattr(LIMITS, "call_seconds", 1.0)
    looping, quick = function(scripts, "while (true);"), function(scripts, "emit(1)")
    order: list[int] = []

    def run(number: int) -> None:
        if number == 0:
            with pytest.raises(ServerError):
                looping()
        else:
            quick()
        order.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for number, thread in enumerate(threads):
        thread.start()
        assert eventually(lambda: bool(pids(scripts)))
        assert eventually(lambda waiting=number: len(PROCESSES._queues.get(scripts, ())) == waiting)  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert order == list(range(6))


def test_a_database_without_a_process_gets_one_of_anothers(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "max_processes", 1)
    others = Scripts()
    seen = set()
    for owner in (scripts, others, scripts):
        assert function(owner, "emit(typeof leaked); leaked = 1")() == b'[["undefined"]]\nnull'
        seen.update(pids(owner))
    others.close()
    assert len(seen) == 1


def test_without_the_extra_nothing_is_started(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("couchmodel._embedded.javascript.engine.is_available", lambda: False)
    monkeypatch.setattr("subprocess.Popen", None)
    with pytest.raises(ResponseError, match=r"couchmodel\[js\]"):
        function(scripts, "emit(1)")


PARENT = """
import sys, threading, time
from couchmodel._embedded.javascript.engine import Context, Scripts
from couchmodel._embedded.javascript.pool import PROCESSES
scripts = Scripts()
busy = "function (doc) { if (doc.busy) Array.prototype.join.call({length: 2**53 - 1}) }"
context = Context(scripts, ("addMap", busy))
context.run("map", b'[{"_id":"a"}]')
if sys.argv[1] == "busy":
    threading.Thread(target=lambda: context.run("map", b'[{"_id":"a","busy":1}]'), daemon=True).start()
    time.sleep(0.2)
print(PROCESSES._all[0]._popen.pid, flush=True)
time.sleep(60)
"""


@on_linux
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_process_ends_when_its_parent_is_killed(state: str) -> None:
    command = [sys.executable, "-c", PARENT, state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603 - a program of the test's
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_there(pid)
        parent.kill()
    assert eventually(lambda: not is_there(pid), seconds=4)


FORK = """
import os
from couchmodel._embedded.javascript.engine import Context, Scripts
context = Context(Scripts(), ("addMap", "function (doc) { emit(doc.n) }"))
context.run("map", b'[{"n":0}]')
child = os.fork()
for n in range(100):
    n = n if child else -n
    assert context.run("map", b'[{"n":%d}]' % n) == b"[[%d]]\\nnull" % n
if not child:
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@on_linux
def test_a_forked_child_has_processes_of_its_own() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    forked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a program of the test's
    assert (forked.stdout, forked.stderr) == ("0\n", "")


async def test_the_processes_of_a_store_end_with_it() -> None:
    async with CouchDB("memory:") as couch:
        database = await couch.create("a")
        await call(database, "PUT", "_design/d", {"validate_doc_update": "function () {}"})
        await call(database, "PUT", "x", {})
        checks = _checks(couch, "a")
        assert len(pids(checks)) == 1
    assert pids(checks) == []


# --- who waits for whom

LOOP = "function () { Array.prototype.join.call({length: 2**53 - 1}) }"


@pytest.mark.parametrize("url", ["memory:", "file"])
async def test_nobody_else_waits_for_functions_that_never_end(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "call_seconds", 4)
    async with CouchDB(f"sqlite:{tmp_path / 'couch.db'}" if url == "file" else url) as couch:
        bad, good = await couch.create("bad"), await couch.create("good")
        check = "function (doc) { if (doc.bad) throw({forbidden: 'bad'}) }"
        filters = {"f": "function () { return true }"}
        await call(good, "PUT", "_design/d", {"validate_doc_update": check, "filters": filters})
        await call(bad, "PUT", "a", {})
        loops = {"updates": {"u": LOOP}, "filters": {"f": LOOP}, "views": {"v": {"map": LOOP}}}
        await call(bad, "PUT", "_design/d", {"validate_doc_update": LOOP, **loops})
        requests = [
            *(call(bad, "PUT", f"b{n}", {}) for n in range(3)),
            *(call(bad, "POST", "_design/d/_update/u") for _ in range(3)),
            *(call(bad, "GET", "_changes?filter=d/f") for _ in range(3)),
            call(bad, "GET", "_design/d/_view/v"),
        ]
        endless = [asyncio.create_task(request) for request in requests]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(3):
            assert (await call(good, "PUT", "x", {}))["ok"]
            with pytest.raises(ForbiddenError):
                await call(good, "PUT", "y", {"bad": True})
            assert len((await call(good, "GET", "_changes?filter=d/f"))["results"]) == 2
            assert (await call(bad, "GET", "a"))["_id"] == "a"
        assert not any(task.done() for task in endless)
        for task in endless:
            task.cancel()
        await asyncio.gather(*endless, return_exceptions=True)
