"""The command line: ``couchmodel serve`` puts an embedded store on a socket, where any CouchDB client can use it."""

import asyncio
import signal
from contextlib import suppress
from typing import Annotated

from couchmodel._embedded.serve import serve as start_server
from couchmodel._embedded.store import Store
from couchmodel.errors import CouchModelError

try:
    import typer
except ImportError as error:
    raise SystemExit("the command line needs an extra: pip install 'couchmodel[cli]'") from error

__all__ = ["main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Typed documents for Apache CouchDB.")


@app.callback()
def _couchmodel() -> None:
    """Typed documents for Apache CouchDB, with or without a server."""


@app.command()
def serve(
    file: Annotated[
        str | None, typer.Argument(help="The store's file, made if missing. In memory without one.")
    ] = None,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 5984,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    admin: Annotated[str | None, typer.Option(metavar="NAME:PASSWORD", help="Ask for this name and password.")] = None,
) -> None:
    """Serve an embedded store over HTTP, as a CouchDB would, until it is interrupted."""
    try:
        asyncio.run(_serve(file, host, port, _credentials(admin)))
    except (CouchModelError, OSError) as error:
        typer.echo(f"couchmodel serve: {error}", err=True)
        raise typer.Exit(1) from None


def main() -> None:
    """Run the command line."""
    app()


async def _serve(file: str | None, host: str, port: int, admin: tuple[str, str] | None) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    with suppress(NotImplementedError):  # Windows: there, a KeyboardInterrupt ends it
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    store = Store(file)
    try:
        server = await start_server(store, host, port, admin)
        typer.echo(f"serving {file or 'a store in memory'} at {server.url}")
        await stopped.wait()
        await server.close()
    finally:
        await store.close()


def _credentials(admin: str | None) -> tuple[str, str] | None:
    if admin is None:
        return None
    name, colon, password = admin.partition(":")
    if not name or not colon or not password:
        raise typer.BadParameter("write NAME:PASSWORD", param_hint="--admin")
    return name, password
