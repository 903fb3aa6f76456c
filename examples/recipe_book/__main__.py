"""Start the whole recipe book: ``couchmodel serve`` for the recipes, and the application beside it."""

import argparse
import asyncio
import os
import secrets
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

import uvicorn

HOST = "127.0.0.1"
MONTH = 30 * 24 * 3600


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recipe_book", description=__doc__)
    parser.add_argument("file", nargs="?", default="recipes.db", help="the file of the recipes, or memory: for none")
    parser.add_argument("--port", type=int, default=8000, help="the port of the application; 0 takes a free one")
    parser.add_argument("--sync-port", type=int, default=5984, help="the port of the recipes; 0 takes a free one")
    return parser.parse_args()


async def start_store(file: str, port: int, page_port: int, password: str) -> tuple[Process, str]:
    """Serve the recipes in another process, to the pages of the application, too. Return it and its URL."""
    origins = [f"--cors=http://{name}:{page_port}" for name in (HOST, "localhost")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "couchmodel", "serve", file, "--port", str(port), f"--session-timeout={MONTH}"),
        *(*origins, "--cors-credentials", "--until-stdin-closes"),
        env={**os.environ, "COUCHMODEL_ADMIN": f"root:{password}"},
        stdin=PIPE,  # it is closed with this process, even if it is killed
        stdout=PIPE,
    )
    assert process.stdout
    line = (await process.stdout.readline()).decode()
    if not line:
        raise SystemExit(await process.wait())
    return process, line.split()[-1]


def listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise SystemExit(f"recipe_book: {error}; give another --port, or 0 for a free one") from None


async def run(arguments: argparse.Namespace) -> None:
    with listen(arguments.port) as listener:
        port = listener.getsockname()[1]
        password = secrets.token_urlsafe()
        store, url = await start_store(arguments.file, arguments.sync_port, port, password)
        try:
            os.environ["COUCHMODEL_URL"] = url.replace("://", f"://root:{password}@")
            os.environ["RECIPE_BOOK_SYNC_PORT"] = url.rpartition(":")[2]
            config = uvicorn.Config(f"{__package__}.app:app", log_level="warning", timeout_graceful_shutdown=1)
            print(f"The recipe book is at http://{HOST}:{port}", flush=True)
            await uvicorn.Server(config).serve(sockets=[listener])
        finally:
            with suppress(ProcessLookupError):  # Ctrl-C ends both
                store.terminate()
            await store.wait()


signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises it again at its end, before the store's
with suppress(KeyboardInterrupt):
    asyncio.run(run(parse_arguments()))
