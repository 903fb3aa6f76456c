"""Consumers: they are called with every change, and go on where they have stopped."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from couchmodel import (
    Change,
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    DocumentError,
    Field,
    Mapped,
    NotFoundError,
    ProtocolError,
    Repository,
    connect,
)
from couchmodel._model.store.feeds import consumers
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Database, Session
from couchmodel.upkeep import backup


class Mail(CouchModel, type="mail"):
    text: Mapped[str] = Field(default="")


class Other(CouchModel, type="other"):
    text: Mapped[str] = Field(default="")


@pytest.fixture
async def mails(database: Database) -> Repository[Mail]:
    """A database with five mails, and a document of another model."""
    mails = Repository(Mail, database)
    for id in "abcde":
        await mails.save(Mail(id=id))
    await Repository(Other, database).save(Other(id="x"))
    return mails


class Notes(list[str]):
    """A consumer that notes the ids of changes, and may fail at one of them."""

    def __init__(self, fail_at: str = "") -> None:
        super().__init__()
        self._fail_at = fail_at

    async def __call__(self, change: Change[Mail]) -> None:
        if change.id == self._fail_at:
            raise ValueError("no such address")
        self.append(change.id)


async def work(mails: Repository[Mail], name: str = "mailer", **options: Any) -> str:
    """Consume the changes so far, and return the ids."""
    notes = Notes()
    await mails.consume(name, notes, live=False, **options)
    return "".join(notes)


async def start(
    mails: Repository[Mail], function: Callable[[Change[Mail]], Awaitable[None]], name: str = "mailer"
) -> asyncio.Task[None]:
    return asyncio.create_task(mails.consume(name, function))


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(4000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never came to that")


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# --- positions


async def test_a_consumer_gets_each_change_once(mails: Repository[Mail]) -> None:
    assert await work(mails) == "abcde"
    assert await work(mails) == ""
    await mails.save(Mail(id="f"))
    assert await work(mails) == "f"


async def test_each_name_has_a_position_of_its_own(mails: Repository[Mail]) -> None:
    assert await work(mails, "a") == await work(mails, "b/ä _x") == "abcde"
    assert await work(mails, "b/ä _x") == ""


async def test_consumers_of_two_models_may_have_one_name(mails: Repository[Mail]) -> None:
    assert await work(mails) == "abcde"
    notes = list[str]()

    async def note(change: Change[Other]) -> None:
        notes.append(change.id)

    await Repository(Other, mails.database).consume("mailer", note, live=False)
    assert notes == ["x"]


async def test_a_new_consumer_may_begin_later(mails: Repository[Mail]) -> None:
    assert await work(mails, since="now") == ""
    await mails.save(Mail(id="f"))
    assert await work(mails, since="0") == "f"


async def test_a_consumer_that_begins_now_misses_nothing_after_it_was_stopped(mails: Repository[Mail]) -> None:
    notes = Notes()
    for _ in range(2):
        await mails.consume("later", notes, since="now", live=False)
        await mails.save(Mail())
    assert len(notes) == 1


async def test_changes_that_are_not_the_models_are_passed_for_good(mails: Repository[Mail]) -> None:
    await work(mails)
    others = Repository(Other, mails.database)
    await others.save(Other(id="y"))
    await work(mails)
    stored = await mails.database.session.get((*mails.database.path, "_local", "couchmodel-consumer:mail:mailer"))
    assert [event async for event in mails.database.changes(since=stored["seq"])] == []


async def test_the_position_is_stored_for_many_changes_at_once(
    mails: Repository[Mail], monkeypatch: pytest.MonkeyPatch
) -> None:
    await mails.save_all([Mail(id=f"{n:04}") for n in range(250)])
    writes, send = list[Request](), Session.send

    async def spy(session: Session, request: Request) -> Response:
        if request.method == "PUT":
            writes.append(request)
        return await send(session, request)

    monkeypatch.setattr(Session, "send", spy)
    monkeypatch.setattr(consumers, "_INTERVAL", 1000.0)
    await mails.consume("mailer", Notes(), live=False)
    assert len(writes) == 3


async def test_a_live_consumer_stores_its_position_while_nothing_comes(
    mails: Repository[Mail], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "_INTERVAL", 0.01)
    notes = Notes()
    task = await start(mails, notes)
    path = (*mails.database.path, "_local", "couchmodel-consumer:mail:mailer")
    feed = mails.changes(live=False)
    last = [each.seq async for each in feed][-1]
    seqs = list[str]()
    async with asyncio.timeout(20):
        while last not in seqs:
            with suppress(NotFoundError):
                seqs.append((await mails.database.session.get(path))["seq"])
            await asyncio.sleep(0.01)
    await mails.save(Mail(id="f"))
    await until(lambda: "f" in notes)
    await stop(task)
    assert await work(mails) == ""


# --- failures


async def test_a_function_that_fails_stops_the_consumer_at_that_change(mails: Repository[Mail]) -> None:
    notes = Notes(fail_at="c")
    with pytest.raises(ValueError, match="no such address") as caught:
        await mails.consume("mailer", notes)
    assert "'mailer' has stopped at the change of 'c'" in caught.value.__notes__[0]
    assert notes == ["a", "b"]
    assert await work(mails) == "cde"


async def test_a_consumer_that_is_cancelled_keeps_its_position(mails: Repository[Mail]) -> None:
    seen = list[str]()

    async def wait_at_d(change: Change[Mail]) -> None:
        if change.id == "d":
            await asyncio.Event().wait()
        seen.append(change.id)

    task = await start(mails, wait_at_d)
    await until(lambda: seen == ["a", "b", "c"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await work(mails) == "de"


async def test_a_consumer_that_waits_can_be_cancelled(mails: Repository[Mail]) -> None:
    notes = Notes()
    task = await start(mails, notes)
    await until(lambda: len(notes) == 5)
    await stop(task)
    assert task.cancelled()
    assert await work(mails) == ""


async def test_a_document_that_does_not_fit_stops_it_or_is_passed(mails: Repository[Mail]) -> None:
    await (await mails.database.create("bad", data={"type": "mail", "text": 5})).save()
    await mails.save(Mail(id="f"))
    with pytest.raises(DocumentError, match="'bad'"):
        await work(mails)
    with pytest.raises(DocumentError, match="'bad'") as caught:
        await work(mails)
    assert 'on_invalid="skip"' in caught.value.__notes__[0]
    assert await work(mails, on_invalid="skip") == "f"


async def test_an_answer_that_was_lost_is_no_other_consumer(
    mails: Repository[Mail], lost: Callable[[BaseException], None]
) -> None:
    lost(ProtocolError("lost"))
    with pytest.raises(ProtocolError):
        await work(mails)
    assert await work(mails) == ""


@pytest.mark.parametrize("name", ["", None, 5])
async def test_the_name_is_a_text(mails: Repository[Mail], name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        await mails.consume(name, Notes())


async def test_a_function_that_is_not_asynchronous_is_refused(mails: Repository[Mail]) -> None:
    with pytest.raises(ConfigurationError, match="not asynchronous"):
        await mails.consume("mailer", lambda change: None)  # type: ignore[arg-type, return-value]
    assert await work(mails) == "abcde"


async def test_a_missing_database_is_told_with_the_advice(mails: Repository[Mail]) -> None:
    await mails.database.delete()
    with pytest.raises(NotFoundError, match=r"couch\.apply\(Mail\)"):
        await work(mails)


async def test_a_database_that_was_created_anew_begins_anew(couch: Connection) -> None:
    name = f"test-{secrets.token_hex(6)}"
    mails = Repository(Mail, await couch.create(name, q=1))
    await mails.save(Mail(id="a"))
    assert await work(mails) == "a"
    await mails.database.delete()
    mails = Repository(Mail, await couch.create(f"{name}-2", q=1))
    await mails.save(Mail(id="b"))
    assert await work(mails) == "b"
    await mails.database.delete()


# --- two consumers of one name


async def test_the_second_of_two_consumers_of_one_name_is_told(mails: Repository[Mail]) -> None:
    gate = asyncio.Event()

    async def wait(change: Change[Mail]) -> None:
        await gate.wait()

    first = await start(mails, wait)
    await asyncio.sleep(0.05)
    assert await work(mails) == "abcde"  # it stores its position before the first one does
    gate.set()
    with pytest.raises(ConflictError, match="another consumer named 'mailer'"):
        async with asyncio.timeout(20):
            await first
    assert await work(mails) == ""


async def test_consumers_of_one_name_may_follow_each_other(mails: Repository[Mail]) -> None:
    for id in "fgh":
        await work(mails)
        await mails.save(Mail(id=id))
        assert await work(mails) == id


# --- a store that was restored


async def test_a_consumer_of_a_restored_store_misses_nothing(tmp_path: Path) -> None:
    url, copy = f"sqlite:{tmp_path / 'couch.db'}", tmp_path / "copy.db"
    async with connect(url) as couch:
        mails = Repository(Mail, await couch.create("mails"))
        await mails.save(Mail(id="a"))
        assert await work(mails) == "a"
        await backup(tmp_path / "couch.db", copy)
        await mails.save(Mail(id="b"))
        assert await work(mails) == "b"
    async with connect(f"sqlite:{copy}") as couch:
        mails = Repository(Mail, couch.database("mails"))
        for id in "cd":
            await mails.save(Mail(id=id))
        assert set("cd") <= set(await work(mails))
