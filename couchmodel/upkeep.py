"""Looking after the file of an embedded store: whether it is whole, and copies of it.

A check and a backup work on a store that is in use, in this process or in another one, and hold up neither its readers
nor its writers. The command line has them too, as ``couchmodel check``, ``couchmodel backup`` and ``couchmodel renew``.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from couchmodel._embedded.maintenance import backup as _backup
from couchmodel._embedded.maintenance import check as checking
from couchmodel._embedded.maintenance.check import Checked, Counts, Problem
from couchmodel._embedded.storage.store import Store

__all__ = ["Checked", "Counts", "Problem", "backup", "check", "renew"]


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

    The copy is a store; it appears when it is whole. Its databases have ids of their own, so that feeds and
    replications begin again where the copy takes the place of the store. ``progress`` is told from another thread how
    many pages of how many are copied.

    Raises:
        StoreFileError: there is no store at ``path``, something is at ``target``, or one of them cannot be used.
    """
    await asyncio.to_thread(_copy, path, target, progress)


async def renew(path: str | os.PathLike[str]) -> int:
    """Give every database of a store a new id, and return how many there are.

    Do so after a store went back to an earlier state by other means than :func:`backup`, or a second time to the same
    copy: whoever follows its changes, or replicates from it, begins again then. Otherwise they would take what is
    written next for what they have seen.

    Raises:
        StoreFileError: there is no store at ``path``, it cannot be written, or it is open.
    """
    await asyncio.to_thread(_look, path)
    store = Store(path)
    try:
        return await store.write(_backup.renew)
    finally:
        await store.close()


def _look(path: str | os.PathLike[str]) -> None:
    """Raise StoreFileError where there is no store, which would be made otherwise."""
    with _backup.reading(Path(path).resolve()):
        pass


def _check(path: str | os.PathLike[str], most: int) -> Checked:
    with _backup.reading(Path(path).resolve()) as connection:
        return checking.check(connection, most)


def _copy(
    path: str | os.PathLike[str], target: str | os.PathLike[str], progress: Callable[[int, int], None] | None
) -> None:
    _backup.copy(Path(path).resolve(), Path(target).resolve(), progress)
