"""Writes that functions of design documents check: tried, the functions asked, and tried again. See ``verdicts``."""

from typing import TypeVar

from couchmodel._embedded.documents.verdicts import UnjudgedError
from couchmodel._embedded.documents.writer import Check
from couchmodel._embedded.storage.sqlite import Job
from couchmodel._embedded.storage.store import Database, Store

__all__ = ["write_checked"]

T = TypeVar("T")


async def write_checked(store: Store, database: Database, job: Job[T], check: Check, *, short: bool = False) -> T:
    """What a job gives that writes to a database, and puts its writes to the check. The job may be done several times.

    Raises as the job does; ServerError where the functions take too long, UnsupportedError where they cannot be run.
    """
    while True:
        check.verdicts.begin(short=short)
        try:
            return await store.write(job, committed=database.notify, short=short)
        except UnjudgedError as error:
            await check.verdicts.judge(error.questions)
