"""The command line: an embedded store on a socket, where any CouchDB client can use it, and the care of its file."""

import asyncio
import gc
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from couchmodel._embedded.serve import serve as start_server
from couchmodel._embedded.store import Store
from couchmodel.errors import CouchModelError
from couchmodel.upkeep import Checked
from couchmodel.upkeep import backup as make_backup
from couchmodel.upkeep import check as check_file

try:
    import typer
    from rich.console import Console
    from rich.progress import Progress
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
    with _refusing("serve"):
        asyncio.run(_serve(file, host, port, _credentials(admin)))


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="The store's file; it may be in use.")],
    *,
    most: Annotated[int, typer.Option(min=1, help="Stop after so many problems.")] = 100,
) -> None:
    """Read a store from end to end, and say what is wrong with it: exit status 0 if nothing, 1 if something is."""
    with _refusing("check", status=2):
        found = asyncio.run(check_file(file, most=most))
    for problem in found.problems:
        typer.echo(f"  {problem}")
    typer.echo(f"{file}: {_summary(found, most)}")
    raise typer.Exit(1 if found.problems else 0)


@app.command()
def backup(
    file: Annotated[str, typer.Argument(help="The store's file; it may be in use.")],
    target: Annotated[str, typer.Argument(help="The copy's file; nothing may be there yet.")],
) -> None:
    """Copy a store as it is at this moment. The copy is a store, and appears when it is whole."""
    terminal = Console(stderr=True)
    with _refusing("backup"), Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task("copying")

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        asyncio.run(make_backup(file, target, progress=told))
    typer.echo(f"{file} copied to {target}: {Path(target).stat().st_size:,} bytes")


def main() -> None:
    """Run the command line."""
    app()


@contextmanager
def _refusing(command: str, *, status: int = 1) -> Generator[None]:
    """A context whose errors end the command with a message and an exit status."""
    try:
        yield
    except (CouchModelError, OSError) as error:
        typer.echo(f"couchmodel {command}: {error}", err=True)
        raise typer.Exit(status) from None


def _summary(found: Checked, most: int) -> str:
    counts, problems = found.counts, len(found.problems)
    if problems:
        return f"{_number(problems, 'problem')}{', and the rest was not looked at' if problems == most else ''}"
    documents = f"{_number(counts.documents, 'document')} and {counts.deleted:,} deleted"
    listed = _number(counts.databases, "database"), documents, _number(counts.attachments, "stored attachment")
    return f"{', '.join(listed)}: all is well"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


async def _serve(file: str | None, host: str, port: int, admin: tuple[str, str] | None) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    with suppress(NotImplementedError):  # Windows: there, a KeyboardInterrupt ends it
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    store = Store(file)
    try:
        server = await start_server(store, host, port, admin)
        # A full collection reads every object and holds up everybody; what is there by now stays for good.
        gc.freeze()
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
