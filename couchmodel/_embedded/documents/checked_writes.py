"""Run writes that validation functions check: attempt, run the functions, attempt again. See ``verdicts``."""

from typing import TypeVar

from couchmodel._embedded.documents.verdicts import MissingVerdictsError
from couchmodel._embedded.documents.writer import WriteCheck
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Job
from couchmodel._embedded.storage.store import Store

__all__ = ["write_checked"]

T = TypeVar("T")


async def write_checked(store: Store, database: Database, job: Job[T], check: WriteCheck, *, short: bool = False) -> T:
    """Run a job that writes to a database with the check, and return its result.

    The job may run several times, but only its last run is committed. ``short`` says that it has few and small
    documents.

    Raises:
        ServerError: the validation functions take too long.
        UnsupportedError: the validation functions need the extra ``js``.
        Exception: the job raises it.
    """
    while True:
        # It ends: each turn brings verdicts, and after some turns those of functions of an earlier turn count.
        check.verdicts.begin(short=short)
        try:
            return await store.write(job, on_commit=database.notify, short=short)
        except MissingVerdictsError as error:
            await check.verdicts.judge(error.questions)
