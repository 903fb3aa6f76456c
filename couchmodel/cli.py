"""Run the command ``couchmodel``: serve an embedded store to any CouchDB client, and check, copy or renew its file.

Its commands for buckets are in ``bucket_commands``.
"""

import asyncio
import errno
import gc
import os
import signal
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.server.http import serve as start_server
from couchmodel._embedded.settings import Configuration, Cors
from couchmodel._embedded.storage.store import Store
from couchmodel.errors import CouchModelError
from couchmodel.transports import HTTPTransport
from couchmodel.upkeep import Checked
from couchmodel.upkeep import backup as make_backup
from couchmodel.upkeep import check as check_file
from couchmodel.upkeep import renew as renew_ids

try:
    import typer
    from rich.console import Console
    from rich.progress import Progress

    from couchmodel.bucket_commands import app as bucket_commands
except ImportError as error:
    # The trace of an ImportError would hide the advice.
    raise SystemExit("the command couchmodel needs an extra: pip install 'couchmodel[cli]'") from error

__all__ = ["main"]

_USERS: Final[Any] = {"rich_help_panel": "Users"}
_WEB: Final[Any] = {"rich_help_panel": "HTTP"}

GC_THRESHOLDS: Final = 5_000, 5, 800
"""The thresholds of Python's garbage collector while a store is served: see ``gc.set_threshold``.

A young collection after 5,000 new objects, a middle one after 5 of those, and a full one after 800 of those: full ones
are long, see ``_serve``.
"""

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(bucket_commands, name="bucket")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"couchmodel {version('couchmodel')}")
        raise typer.Exit


@app.callback()
def _couchmodel(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Typed documents for Apache CouchDB, with or without a server."""


@app.command()
def serve(
    file: Annotated[
        str | None, typer.Argument(help="The store's file, created if missing. Without one, the store is in memory.")
    ] = None,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 5984,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Any other than loopback needs an administrator.")
    ] = "127.0.0.1",
    admin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PASSWORD",
            # Other users of a computer can see command lines, so a password can also come from the environment.
            envvar="COUCHMODEL_ADMIN",
            help="An administrator. Can be repeated; in the variable, separate them with spaces. "
            "The password may be hashed as in CouchDB's configuration.",
        ),
    ] = None,
    require_valid_user: Annotated[
        bool, typer.Option("--require-valid-user", help="Refuse requests without credentials.", **_USERS)
    ] = False,
    session_timeout: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="How long an unused cookie is valid.", **_USERS)
    ] = limits.SESSION_SECONDS,
    jwt_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=KEY",
            help="Accept JSON Web Tokens signed with this key: hmac:ID=BASE64, rsa:ID=@FILE.pem or "
            "ec:ID=@FILE.pem. Can be repeated. ID is _default for tokens that name no key.",
            **_USERS,
        ),
    ] = None,
    proxy_secret: Annotated[
        str | None,
        typer.Option(
            envvar="COUCHMODEL_PROXY_SECRET",
            help="Accept the X-Auth-CouchDB headers of a proxy that proves that it knows this secret.",
            **_USERS,
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Allow pages of this origin. Can be repeated. * allows all.", **_WEB),
    ] = None,
    cors_credentials: Annotated[
        bool, typer.Option("--cors-credentials", help="Let these pages send cookies and passwords.", **_WEB)
    ] = False,
    max_request_size: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="The largest body of a request.", **_WEB)
    ] = limits.REQUEST_BYTES,
    utils: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Serve a web interface such as Fauxton from a folder, under /_utils/.", **_WEB
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Listen with TLS: the certificate and its chain.", **_WEB)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The key of the certificate, if it is in another file.", **_WEB)
    ] = None,
    until_stdin_closes: Annotated[
        bool,
        typer.Option(
            "--until-stdin-closes",
            help="End when the standard input ends: that of a pipe does with the program that started the server.",
        ),
    ] = False,
) -> None:
    """Serve an embedded store over HTTP to any CouchDB client, until interrupted."""
    with _exit_on_error("serve"):
        pairs = [_split_pair(text, "=", "--jwt-key", "NAME=KEY") for text in jwt_key or ()]
        configuration = Configuration(
            admins=dict(_split_pair(text, ":", "--admin", "NAME:PASSWORD") for text in admin or ()),
            require_valid_user=require_valid_user,
            session_timeout=session_timeout,
            jwt_keys={name: _read_key(text) for name, text in pairs},
            proxy_secret=proxy_secret or None,
            cors=Cors(tuple(cors), cors_credentials) if cors else None,
            max_request_size=max_request_size,
            utils=utils,
        )
        tls = _tls_context(tls_certificate, tls_key)
        asyncio.run(_serve(_store_file(file), host, port, configuration, tls, until_stdin_closes=until_stdin_closes))


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="The store's file; it may be in use.")],
    *,
    most: Annotated[int, typer.Option(min=1, help="Stop after this many problems.")] = 100,
) -> None:
    """Read a whole store and print its problems. The exit status is 0 without problems, 1 with problems."""
    # 1 says that the store has problems, as with diff, so another status says that it cannot be read.
    with _exit_on_error("check", status=2):
        found = asyncio.run(check_file(file, most=most))
    for problem in found.problems:
        typer.echo(f"  {problem}")
    typer.echo(f"{file}: {_summary(found, most)}")
    raise typer.Exit(1 if found.problems else 0)


@app.command()
def backup(
    file: Annotated[str, typer.Argument(help="The store's file; it may be in use.")],
    target: Annotated[str, typer.Argument(help="The file of the copy, which must not exist.")],
) -> None:
    """Copy a store as of this moment. The file of the copy appears when it is complete."""
    # The standard output has the result only, so that it can be piped.
    terminal = Console(stderr=True)
    with (
        _exit_on_error("backup"),
        Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress,
    ):
        task = progress.add_task("copying")

        def show_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        asyncio.run(make_backup(file, target, progress=show_progress))
    typer.echo(f"{file} copied to {target}: {Path(target).stat().st_size:,} bytes")


@app.command()
def renew(file: Annotated[str, typer.Argument(help="The store's file, which must not be open.")]) -> None:
    """Give the databases of a restored store new ids, so that feeds and replications start again."""
    with _exit_on_error("renew"):
        count = asyncio.run(renew_ids(file))
    typer.echo(f"{file}: {_count_noun(count, 'database')} with new ids")


def main() -> None:
    """Run the command line."""
    app()


@contextmanager
def _exit_on_error(command: str, *, status: int = 1) -> Generator[None]:
    """Run the block, and turn its errors into a message and an exit status."""
    try:
        yield
    except (CouchModelError, OSError) as error:
        # The commonest error of a first try: a CouchDB has the same port.
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        hint = "; give another --port, or 0 for a free one" if in_use else ""
        typer.echo(f"couchmodel {command}: {error}{hint}", err=True)
        raise typer.Exit(status) from None


def _summary(found: Checked, most: int) -> str:
    counts, problems = found.counts, len(found.problems)
    if problems:
        return f"{_count_noun(problems, 'problem')}{', and the check stopped there' if problems == most else ''}"
    documents = f"{_count_noun(counts.documents, 'document')} and {counts.deleted:,} deleted"
    parts = _count_noun(counts.databases, "database"), documents, _count_noun(counts.attachments, "stored attachment")
    return f"{', '.join(parts)}: all is well"


def _count_noun(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


async def _serve(
    file: str | None,
    host: str,
    port: int,
    configuration: Configuration,
    tls: ssl.SSLContext | None,
    *,
    until_stdin_closes: bool,
) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    with suppress(NotImplementedError):  # Windows: there, a KeyboardInterrupt ends it
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    if until_stdin_closes:
        _watch_stdin(partial(loop.call_soon_threadsafe, stopped.set))
    store = Store(file)
    try:
        # The embedded server does not know transports, so it gets the one by which it replicates with others.
        server = await start_server(store, host, port, configuration=configuration, tls=tls, remote=HTTPTransport)
        # A full collection stops the event loop, for more than half a second when thousands of clients wait for
        # changes. The objects that exist by now live as long as the server, so they are never examined. Most later
        # garbage is young, so young collections suffice.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        typer.echo(f"serving {file or 'a store in memory'} at {server.url}")
        if server.is_open_to_all:
            typer.echo("every client has an administrator's rights: see --admin", err=True)
        await stopped.wait()
        # Requests that are being answered still need the store.
        await server.close()
    finally:
        await store.close()


def _watch_stdin(on_end: Callable[[], object]) -> None:
    """Call a function in a thread when the standard input ends. Not each event loop can watch a pipe or a terminal."""

    def read() -> None:
        # Not by ``sys.stdin``: Python cannot end while a thread holds its lock.
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        with suppress(RuntimeError):  # the event loop has ended before
            on_end()

    threading.Thread(target=read, name="couchmodel-stdin", daemon=True).start()


def _store_file(text: str | None) -> str | None:
    """Return the path of a store that is given as a file or as the URL of ``connect``; None for a store in memory."""
    return None if text in (None, "memory:") else text.removeprefix("sqlite:")


def _split_pair(text: str, separator: str, option: str, form: str) -> tuple[str, str]:
    left, found, right = text.partition(separator)
    if not left or not found or not right:
        raise typer.BadParameter(f"write {form}", param_hint=option)
    return left, right


def _read_key(text: str) -> str:
    # ``@FILE`` as in curl.
    return Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text


def _tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise typer.BadParameter("give the certificate of the key with --tls-certificate", param_hint="--tls-key")
        return None
    # The purpose names the other side: this is the context of a server.
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
