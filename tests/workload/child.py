"""A server in a process of its own, and what it reports."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.workload.observer import Report

__all__ = ["Child", "StartError"]

STARTING = 60.0
ENDING = 20.0
"""Seconds in which a server has to begin to answer, and to end when it is told to."""

_LONGEST_REPORT = 1_000_000


class StartError(Exception):
    """A server did not begin to answer; the message is what it has said."""


class Child:
    """A process of :mod:`tests.workload.server`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, tell: Callable[[Report], None]) -> None:
        self.url = ""
        self.log = log
        """The file to which it writes tracebacks."""
        self._process = process
        self._tell = tell
        self._has_url = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def spawn(cls, file: Path, limit: float, tell: Callable[[Report], None]) -> Self:
        """Begin a process that serves a file. ``limit`` is for how many seconds its loop may be held."""
        log = file.with_suffix(".log")
        command = [sys.executable, "-m", "tests.workload.server", str(file), str(limit)]
        with log.open("ab") as written:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=written, limit=_LONGEST_REPORT
            )
        return cls(process, log, tell)

    async def wait_until_ready(self) -> None:
        """Wait until it answers. Raises StartError where it does not."""
        waiting = asyncio.create_task(self._has_url.wait())
        await asyncio.wait([waiting, self._reading], timeout=STARTING, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._has_url.is_set():
            await self.kill()
            raise StartError(self.said())

    async def kill(self) -> None:
        """End it at once, as the system would."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def end(self) -> bool:
        """Tell it to end; whether it did so in time, and well."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(ENDING):
                await self._process.wait()
        except TimeoutError:
            await self.dump()
            await self.kill()
            return False
        await self._reading
        return self._process.returncode == 0

    async def dump(self) -> None:
        """Have it write the stacks of its threads, and of its tasks if the loop runs, into its log."""
        self.dump_tasks()
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(1)

    def dump_tasks(self) -> None:
        """Have it write where its tasks wait into its log, some time."""
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR2)

    def said(self) -> str:
        """Return the end of what it has written into its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-6000:]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            try:
                report = json.loads(line)
            except ValueError:
                continue  # a kill has cut it
            if "url" in report:
                self.url = report["url"]
                self._has_url.set()
            else:
                self._tell(report)
