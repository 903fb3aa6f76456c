"""Looking after the file of an embedded store: whether it is whole, and copies of it.

Both work on a store that is in use, in this process or in another one, and hold up neither its readers nor its writers.
The command line has them too, as ``couchmodel check`` and ``couchmodel backup``.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from couchmodel._embedded import backup as _backup
from couchmodel._embedded import checking
from couchmodel._embedded.checking import Checked, Counts, Problem

__all__ = ["Checked", "Counts", "Problem", "backup", "check"]


async def check(path: str | os.PathLike[str], *, most: int = 1000) -> Checked:
    """Read a store from end to end. It is whole if there are no problems.

    SQLite checks its file, and then every document is held against its revision tree, every attachment against its
    digest, and every count against what there is. More than ``most`` problems are not looked for.

    Raises:
        StoreFileError: there is no store at ``path``, or it cannot be opened.
    """
    return await asyncio.to_thread(_check, path, most)


async def backup(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Copy a store as it is at this moment to ``target``, where there is nothing yet.

    The copy is a store; it appears when it is whole. ``progress`` is told from another thread how many pages of how
    many are copied.

    Raises:
        StoreFileError: there is no store at ``path``, something is at ``target``, or one of them cannot be used.
    """
    await asyncio.to_thread(_copy, path, target, progress)


def _check(path: str | os.PathLike[str], most: int) -> Checked:
    with _backup.reading(Path(path).resolve()) as connection:
        return checking.check(connection, most)


def _copy(
    path: str | os.PathLike[str], target: str | os.PathLike[str], progress: Callable[[int, int], None] | None
) -> None:
    _backup.copy(Path(path).resolve(), Path(target).resolve(), progress)
