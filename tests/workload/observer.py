"""Observes the process in which a store is: held loops, errors that are logged, and figures every second."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from tests.workload.figures import read_figures
from tests.workload.watchdog import Watchdog

__all__ = ["Observer", "Report"]

Report = dict[str, Any]
"""``{"problem": …, "detail": …}``, or ``{"figures": …}`` with the members of Figures and of the watchdog."""

_EVERY = 1.0  # seconds between two reports of figures


class Observer(logging.Handler):
    """Tells what happens in this process while the loop runs."""

    def __init__(self, limit: float, tell: Callable[[Report], None]) -> None:
        """``limit`` is how many seconds a callback may hold the loop; ``tell`` is called in any thread."""
        super().__init__(logging.WARNING)
        self._tell = tell
        self._watchdog = Watchdog(limit, self.problem)

    def start(self) -> None:
        """Begin to observe the running loop."""
        logging.getLogger().addHandler(self)
        self._hooks = sys.unraisablehook, threading.excepthook
        sys.unraisablehook = lambda failure: self._raised("an error that nobody could catch", failure.exc_value)
        threading.excepthook = lambda failure: self._raised("an error ended a thread", failure.exc_value)
        self._watchdog.start()
        self._telling = asyncio.create_task(self._tell_figures())

    def stop(self) -> None:
        """End observing, with a last report."""
        self._telling.cancel()
        self._watchdog.stop()
        self.tell_figures()
        sys.unraisablehook, threading.excepthook = self._hooks
        logging.getLogger().removeHandler(self)

    def problem(self, what: str, detail: str) -> None:
        """Tell of a problem."""
        self._tell({"problem": what, "detail": detail})

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of a warning or an error that is logged."""
        error = record.exc_info[1] if record.exc_info else None
        kind = f": {type(error).__name__}: {error}" if error else ""
        self.problem(f"{record.name} logs {record.levelname}{kind}", logging.Formatter().format(record))

    def tell_figures(self) -> None:
        """Tell how much the process uses now."""
        watchdog = self._watchdog
        lags = sorted(watchdog.lags)
        figures = {
            **read_figures()._asdict(),
            "held": watchdog.held,
            "disk": watchdog.disk,
            "lag": lags[-1] if lags else 0.0,
            "lag_p99": lags[len(lags) * 99 // 100] if lags else 0.0,
            "collection": watchdog.collections.longest,
        }
        self._tell({"figures": figures})

    def _raised(self, what: str, error: BaseException | None) -> None:
        self.problem(f"{what}: {type(error).__name__}: {error}", "")

    async def _tell_figures(self) -> None:
        while True:
            self.tell_figures()
            await asyncio.sleep(_EVERY)
