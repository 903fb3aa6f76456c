"""Check, copy and renew the file of an embedded store.

:func:`check` and :func:`backup` work on a store that is in use, in this process or in another one, and hold up neither
its readers nor its writers. The commands ``couchmodel check``, ``couchmodel backup`` and ``couchmodel renew`` do the
same on the command line.
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
    """Read a whole store and return the problems found. The store is intact if there are none.

    SQLite checks its file first. Then every document is compared with its revision tree, every attachment with its
    digest, and every stored count with the rows that it counts. The check stops after ``most`` problems.

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
    """Copy a store as of this moment to ``target``, which must not exist yet.

    The copy is a store, too. Its file appears when it is complete. Its databases get new ids, so that feeds and
    replications begin again if the copy takes the place of the store. ``progress`` is called in another thread with the
    number of pages copied so far and the number of all pages.

    Raises:
        StoreFileError: there is no store at ``path``, ``target`` exists, or one of the two cannot be used.
    """
    await asyncio.to_thread(_copy, path, target, progress)


async def renew(path: str | os.PathLike[str]) -> int:
    """Give every database of a store a new id, and return the number of databases.

    Call this after a store's file was put back to an earlier state by other means than :func:`backup`, or to the same
    backup a second time. Clients that follow the changes of its databases or replicate from them then begin again.
    Otherwise they would miss new writes, whose sequence numbers they have seen before.

    Raises:
        StoreFileError: there is no store at ``path``, it cannot be written, or it is open.
    """
    # All of it works on files and may take minutes, so none of it runs in the event loop.
    await asyncio.to_thread(_require_store, path)
    store = Store(path)
    try:
        return await store.write(_backup.renew)
    finally:
        await store.close()


def _require_store(path: str | os.PathLike[str]) -> None:
    """Raise StoreFileError if there is no store. Without this check, ``Store`` would create one."""
    with _backup.open_for_reading(Path(path).resolve()):
        pass


def _check(path: str | os.PathLike[str], most: int) -> Checked:
    with _backup.open_for_reading(Path(path).resolve()) as connection:
        return checking.check(connection, most)


def _copy(
    path: str | os.PathLike[str], target: str | os.PathLike[str], progress: Callable[[int, int], None] | None
) -> None:
    _backup.copy(Path(path).resolve(), Path(target).resolve(), progress)
