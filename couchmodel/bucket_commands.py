"""The commands ``couchmodel bucket put``, ``get``, ``ls``, ``rm`` and ``sweep``."""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from couchmodel.bucket import Bucket, CorruptGridFile, GridOut, NoFile
from couchmodel.engine import CouchDB
from couchmodel.errors import CouchModelError, NotFoundError

__all__ = ["app"]

# The default of `couchmodel.connect`, too, so that a program and the commands meet in one store.
_DEFAULT_URL: Final = "sqlite:couchmodel.db"
_READ_BYTES: Final = 1024 * 1024

app = typer.Typer(no_args_is_help=True, help="Store files in a bucket of a database, and read, list and delete them.")

Database = Annotated[str, typer.Argument(help="The database of the bucket.", show_default=False)]
Url = Annotated[str, typer.Option("--url", envvar="COUCHMODEL_URL", help="The store, such as http://… or sqlite:FILE.")]
Name = Annotated[str, typer.Option("--bucket", help="The name of the bucket.")]
ById = Annotated[bool, typer.Option("--id", help="The files are given by their ids, and not by their names.")]


@app.command()
def put(
    database: Database,
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="The files to store.")],
    *,
    name: Annotated[str | None, typer.Option(help="The name in the bucket, if it is not that of the file.")] = None,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="The metadata: an object of JSON.")] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the database if it is missing.")] = False,
    url: Url = _DEFAULT_URL,
    bucket: Name = "fs",
) -> None:
    """Store files, and print their ids. An upload that broke off goes on; an unchanged file is not stored again."""
    if name is not None and len(files) > 1:
        raise typer.BadParameter("one name is for one file", param_hint="--name")
    details = _parse_metadata(metadata)

    async def run() -> None:
        async with _open(url, database, bucket, create=create) as opened:
            for file in files:
                with _progress(file.name, file.stat().st_size) as advance:
                    file_id = await _put(opened, file, name or file.name, details, advance)
                typer.echo(file_id)

    _run("put", run())


@app.command()
def get(
    database: Database,
    file: Annotated[str, typer.Argument(help="The name of the file, or with --id its id.", show_default=False)],
    target: Annotated[
        str | None, typer.Argument(help="The file to write; - is the standard output. [default: the name]")
    ] = None,
    *,
    by_id: ById = False,
    revision: Annotated[int, typer.Option(help="0 is the first upload of the name, -1 the newest.")] = -1,
    url: Url = _DEFAULT_URL,
    bucket: Name = "fs",
) -> None:
    """Write a stored file to the disk. A download that broke off goes on. The file appears when it is complete."""

    async def run() -> None:
        async with _open(url, database, bucket) as opened:
            opening = (
                opened.open_download_stream(file) if by_id else opened.open_download_stream_by_name(file, revision)
            )
            async with await opening as stored:
                if target == "-":
                    # No bar and no message, which would mix with the content.
                    await opened.download_to_stream(stored.id, sys.stdout.buffer)
                    return
                # The name of a stored file may have slashes and dots, and must not lead out of the folder.
                path = Path(target or Path(stored.filename).name or stored.id)
                with _progress(path.name, stored.length) as advance:
                    await _get(opened, stored, path, advance)
                typer.echo(f"{path}: {stored.length:,} bytes")

    _run("get", run())


@app.command("ls")
def list_files(
    database: Database,
    name: Annotated[str | None, typer.Argument(help="Only the files of this name.")] = None,
    *,
    url: Url = _DEFAULT_URL,
    bucket: Name = "fs",
) -> None:
    """List the files with their ids, bytes, dates and names."""

    async def run() -> None:
        async with _open(url, database, bucket) as opened:
            async for file in opened.find(None if name is None else {"filename": name}):
                # Times are stored in UTC, and people read their own.
                date = file.upload_date.astimezone().isoformat(sep=" ", timespec="seconds")
                typer.echo(f"{_printable(file.id)}  {file.length:>15,}  {date}  {_printable(file.filename)}")

    _run("ls", run())


@app.command("rm")
def remove(
    database: Database,
    files: Annotated[list[str], typer.Argument(help="The names of the files, or with --id their ids.")],
    *,
    by_id: ById = False,
    url: Url = _DEFAULT_URL,
    bucket: Name = "fs",
) -> None:
    """Delete files: all revisions of each name, or those of the ids."""

    async def run() -> None:
        async with _open(url, database, bucket) as opened:
            for file in files:
                await (opened.delete(file) if by_id else opened.delete_by_name(file))

    _run("rm", run())


@app.command()
def sweep(
    database: Database,
    *,
    minutes: Annotated[int, typer.Option(min=0, help="Spare uploads that have moved within so many minutes.")] = 60,
    url: Url = _DEFAULT_URL,
    bucket: Name = "fs",
) -> None:
    """Delete what uploads have left that were not completed."""

    async def run() -> None:
        async with _open(url, database, bucket) as opened:
            count = await opened.sweep(timedelta(minutes=minutes))
        typer.echo(f"{count:,} parts deleted")

    _run("sweep", run())


async def _put(
    bucket: Bucket[Any], file: Path, name: str, metadata: dict[str, Any] | None, advance: Callable[[int], None]
) -> str:
    resume = _upload_name(file, name, metadata)
    return await bucket.upload_from_stream(
        name, file, metadata=metadata, resume=resume, progress=lambda done, _: advance(done)
    )


def _upload_name(file: Path, name: str, metadata: dict[str, Any] | None) -> str:
    """Return a name of an upload that another upload has only if it has the same content."""
    stat = file.stat()
    # A file that was changed has another size or time, and its upload begins anew.
    return json.dumps([str(file.resolve()), stat.st_size, stat.st_mtime_ns, name, metadata])


async def _get(bucket: Bucket[Any], file: GridOut[Any], path: Path, advance: Callable[[int], None]) -> None:
    # Its name has the content, so that a download of another revision does not go on with it.
    part = path.with_name(f"{path.name}.{file.sha256[:12]}.part")
    start = part.stat().st_size if part.exists() else 0
    with part.open("ab") as destination:
        await bucket.download_to_stream(file.id, destination, start=start, progress=lambda done, _: advance(done))
    if await asyncio.to_thread(_sha256, part) != file.sha256:
        part.unlink()
        # The part of an earlier download may be damaged, too, so the next one begins anew.
        raise CorruptGridFile(f"the file {file.id!r} did not arrive as it is stored: get it again")
    # The file gets its name in one step, so that nobody sees a part of it.
    part.replace(path)


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            found.update(piece)
    return found.hexdigest()


@asynccontextmanager
async def _open(url: str, database: str, bucket: str, *, create: bool = False) -> AsyncGenerator[Bucket[Any]]:
    async with CouchDB(url) as couch:
        opened = await couch.create(database, exists_ok=True) if create else await couch[database]
        yield Bucket(opened, bucket)


@contextmanager
def _progress(name: str, total: int) -> Generator[Callable[[int], None]]:
    """Show a bar on the standard error, if that is a terminal."""
    terminal = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        # rich takes what is in brackets for markup.
        task = progress.add_task(_printable(name).replace("[", r"\["), total=total)
        yield lambda done: progress.update(task, completed=done)


def _run(command: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except (CouchModelError, OSError) as error:
        hint = ""
        if isinstance(error, NotFoundError) and not isinstance(error, NoFile):
            hint = "; is the name of the database right? put --create creates it"
        typer.echo(f"couchmodel bucket {command}: {error}{hint}", err=True)
        raise typer.Exit(1) from None


def _parse_metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"it is no JSON: {error}", param_hint="--metadata") from None
    if not isinstance(found, dict):
        raise typer.BadParameter("it has to be an object of JSON", param_hint="--metadata")
    return found


def _printable(text: str) -> str:
    """Return a text without the characters that would steer a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
