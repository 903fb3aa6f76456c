"""A server of a store that reports on itself: ``python -m tests.workload.server FILE LIMIT``.

It does what ``couchmodel serve FILE`` does. It prints its reports as lines of JSON; the first has its URL.
"""

import asyncio
import faulthandler
import gc
import json
import signal
import sys
import threading
from contextlib import suppress

from couchmodel._embedded.server.http import serve
from couchmodel._embedded.storage.store import Store
from couchmodel.cli import GC_THRESHOLDS
from couchmodel.transports import HTTPTransport
from tests.workload.observer import Observer, Report
from tests.workload.stacks import task_stacks

_printing = threading.Lock()


def _report(report: Report) -> None:
    with _printing, suppress(BrokenPipeError):
        print(json.dumps(report), flush=True)


async def _main(file: str, limit: float) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    with suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        loop.add_signal_handler(signal.SIGUSR2, lambda: print(task_stacks(), file=sys.stderr, flush=True))
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1)
    store = Store(file)
    server = await serve(store, "127.0.0.1", 0, remote=HTTPTransport)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    observer = Observer(limit, _report)
    observer.start()
    _report({"url": server.url})
    await stopped.wait()
    await server.close()
    observer.stop()
    await store.close()


if __name__ == "__main__":
    faulthandler.enable()
    asyncio.run(_main(sys.argv[1], float(sys.argv[2])))
