"""Writes whose outcome is in doubt: their answer was lost, or came from a node that other nodes do not follow."""

import asyncio
import copy
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from couchmodel import (
    AcceptedError,
    Attachment,
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    DocumentError,
    Field,
    File,
    Mapped,
    NotFoundError,
    PreconditionFailedError,
    ProtocolError,
    Repository,
    attachment,
    connect,
)
from couchmodel._wire.messages import Request, Response, decode, encode
from couchmodel.engine import Session


class Item(CouchModel):
    amount: Mapped[int] = Field(default=0, merge="sum")
    note: Mapped[str] = Field(default="")
    photo: Attachment = attachment()


class Stock(CouchModel):
    amount: Mapped[int] = Field(default=0, ge=0, merge="sum")


class Node:
    """A node of a cluster that takes the next write of a document although other nodes have stored another one."""

    def __init__(self) -> None:
        self._first_digit: str | None = None
        self._send = Session.send

    def take(self, *, shown: bool) -> None:
        """Take the next write. CouchDB shows its version, or another one."""
        self._first_digit = "f" if shown else "0"

    def lose(self) -> None:
        """Answer to the next write that it is accepted, and store nothing."""
        self._first_digit = ""

    async def send(self, session: Session, request: Request) -> Response:
        digit = self._first_digit
        if digit is not None and request.path[1:] == ("_bulk_docs",):
            return await self._send_many(session, request)
        if digit is None or request.method not in ("PUT", "DELETE") or len(request.path) not in (2, 3):
            return await self._send(session, request)
        self._first_digit = None
        if len(request.path) == 3:
            return await self._send_attachment(session, request, digit)
        document = decode(await request.read()) if request.body else {"_id": request.path[1], "_deleted": True}
        base = str(document.get("_rev") or request.query.get("rev") or "0-")
        generation, _, parent = base.partition("-")
        own = f"{int(generation) + 1}-{digit}{secrets.token_hex(16)[1:]}"
        history = {"start": int(generation) + 1, "ids": [own.partition("-")[2], *([parent] if parent else [])]}
        body = encode({"new_edits": False, "docs": [{**document, "_rev": own, "_revisions": history}]})
        if digit:
            await self._send(session, Request("POST", (request.path[0], "_bulk_docs"), body=body))
        return Response(202, body=encode({"ok": True, "id": request.path[1], "rev": own}))

    async def _send_attachment(self, session: Session, request: Request, digit: str) -> Response:
        """Take a new attachment of a document without others."""
        database, id, name = request.path
        content = {"content_type": request.headers["content-type"], "data": b64encode(await request.read()).decode()}
        old = await self._send(session, Request("GET", (database, id), {"rev": request.query["rev"]}))
        body = encode({**old.json(), "_attachments": {name: content}})
        self._first_digit = digit
        return await self.send(session, Request("PUT", (database, id), body=body))

    async def _send_many(self, session: Session, request: Request) -> Response:
        """Take all documents of a bulk write."""
        rows, digit = [], self._first_digit
        for document in decode(await request.read())["docs"]:
            self._first_digit = digit
            one = Request("PUT", (request.path[0], document["_id"]), body=encode(document))
            rows.append({**(await self.send(session, one)).json(), "accepted": True})
        return Response(202, body=encode(rows))


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node of a cluster."""
    node = Node()

    async def send(session: Session, request: Request) -> Response:
        return await node.send(session, request)

    monkeypatch.setattr(Session, "send", send)
    return node


@pytest.fixture
async def items(couch: Connection) -> AsyncIterator[Repository[Item]]:
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
    repository = Repository(Item, database)
    await repository.save(Item(id="nails", amount=10))
    yield repository
    with suppress(NotFoundError):
        await database.delete()


async def change(items: Repository[Item], **values: Any) -> None:
    """Change the document as another program would."""
    theirs = await items.get("nails")
    for name, value in values.items():
        setattr(theirs, name, value)
    await items.save(theirs)


async def versions(items: Repository[Item]) -> list[tuple[int, str]]:
    """The current versions of the document."""
    item = await items.get("nails")
    return [(each.amount, each.note) for each in (item, *await items.conflicts(item))]


async def test_a_save_tells_that_it_is_accepted_only(items: Repository[Item], node: Node) -> None:
    item = await items.get("nails")
    item.amount = 11
    node.take(shown=True)
    assert await items.save(item) == (True, True)
    assert await items.save(item) == (False, False)
    item.amount = 12
    assert await items.save(item) == (True, False)
    assert await versions(items) == [(12, "")]


@pytest.mark.parametrize("shown", [True, False])
async def test_a_fork_of_an_edit_is_merged(items: Repository[Item], node: Node, shown: bool) -> None:
    async with items.edit("nails") as item:
        item.amount += 1
        await change(items, amount=12, note="theirs")
        node.take(shown=shown)
    assert await versions(items) == [(13, "theirs")]
    assert (item.amount, item.note, item.is_changed) == (13, "theirs", False)


@pytest.mark.parametrize("shown", [True, False])
async def test_a_fork_counts_once_if_another_merge_of_it_arrives_late(
    items: Repository[Item], node: Node, monkeypatch: pytest.MonkeyPatch, shown: bool
) -> None:
    late, send = list[Request](), Session.send

    async def hold_merge(session: Session, request: Request) -> Response:
        if request.path[1:] != ("_bulk_docs",):
            return await send(session, request)
        late.append(request)
        raise ProtocolError("cut off")

    async def merge_first(session: Session, request: Request) -> Response:
        """Let another program merge the fork before it is looked at."""
        if "open_revs" in request.query:
            monkeypatch.setattr(Session, "send", hold_merge)
            with suppress(ProtocolError):
                await items.resolve(await items.get("nails"))
            monkeypatch.setattr(Session, "send", send)
        return await send(session, request)

    async with items.edit("nails") as item:
        item.amount += 1
        await change(items, amount=12)
        node.take(shown=shown)
        monkeypatch.setattr(Session, "send", merge_first)
    await send(items.session, late[0])
    await items.resolve(await items.get("nails"))
    assert await versions(items) == [(13, "")]


@pytest.mark.parametrize("shown", [True, False])
async def test_a_fork_of_a_save_is_merged(items: Repository[Item], node: Node, shown: bool) -> None:
    item = await items.get("nails")
    item.amount += 1
    await change(items, amount=12, note="theirs")
    node.take(shown=shown)
    await items.save(item)
    assert await versions(items) == [(13, "theirs")]
    assert (item.amount, item.is_changed) == (13, False)


@pytest.mark.parametrize("shown", [True, False])
async def test_a_fork_that_clashes_is_a_conflict_and_leaves_their_version(
    items: Repository[Item], node: Node, shown: bool
) -> None:
    item = await items.get("nails")
    before = item.rev
    item.amount, item.note = 11, "mine"
    await change(items, amount=12, note="theirs")
    node.take(shown=shown)
    with pytest.raises(ConflictError) as caught:
        await items.save(item)
    conflict = caught.value
    assert conflict.fields == {"note"}
    assert (conflict.base.note, conflict.mine.note, conflict.theirs.note) == ("", "mine", "theirs")
    assert (item.rev, item.changed_fields()) == (before, {"amount", "note"})
    assert await versions(items) == [(12, "theirs")]
    await items.save(conflict.merged(prefer="mine"))
    assert await versions(items) == [(13, "mine")]


@pytest.mark.parametrize("shown", [True, False])
async def test_a_fork_whose_merge_breaks_a_rule_leaves_their_version(
    items: Repository[Item], node: Node, shown: bool
) -> None:
    stocks = Repository(Stock, items.database)
    await stocks.save(Stock(id="bolts", amount=10))
    mine, theirs = await stocks.get("bolts"), await stocks.get("bolts")
    mine.amount, theirs.amount = 3, 4
    await stocks.save(theirs)
    node.take(shown=shown)
    with pytest.raises(DocumentError, match="merged with what others have stored"):
        await stocks.save(mine)
    stored = await stocks.get("bolts")
    assert (stored.amount, await stocks.conflicts(stored)) == (4, [])


@pytest.mark.parametrize("shown", [True, False])
async def test_a_fork_of_two_new_documents_is_a_conflict(items: Repository[Item], node: Node, shown: bool) -> None:
    await items.save(Item(id="screws", note="theirs"))
    node.take(shown=shown)
    with pytest.raises(ConflictError, match="exists already") as caught:
        await items.save(Item(id="screws", note="mine"))
    assert caught.value.theirs.note == "theirs"
    screws = await items.get("screws")
    assert (screws.note, await items.conflicts(screws)) == ("theirs", [])


async def test_a_write_that_no_node_has_any_more_is_told(items: Repository[Item], node: Node) -> None:
    item = await items.get("nails")
    before, item.amount = item.rev, 11
    node.lose()
    with pytest.raises(AcceptedError, match="'nails': the node that had it cannot be reached"):
        await items.save(item)
    assert (item.rev, item.is_changed) == (before, True)
    await items.save(item)
    assert await versions(items) == [(11, "")]


@pytest.fixture
async def chosen(url: str, on_accepted: Any) -> AsyncIterator[Repository[Item]]:
    """The items of a connection with this choice for accepted writes."""
    async with connect(url, on_accepted=on_accepted) as couch:
        database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
        yield Repository(Item, database)
        await database.delete()


@pytest.mark.parametrize("on_accepted", ["raise"])
async def test_what_is_accepted_may_raise(chosen: Repository[Item], node: Node) -> None:
    item = Item(id="nails")
    node.take(shown=True)
    with pytest.raises(
        AcceptedError, match="less than a majority of the nodes have stored the write of 'nails'"
    ) as caught:
        await chosen.save(item)
    assert (caught.value.document_id, caught.value.rev) == ("nails", item.rev)
    assert copy.copy(caught.value).rev == item.rev
    node.take(shown=True)
    with pytest.raises(AcceptedError):
        await chosen.delete(item)


@pytest.mark.parametrize("on_accepted", ["ignore"])
async def test_what_is_accepted_may_be_ignored(chosen: Repository[Item], node: Node) -> None:
    await chosen.save(Item(id="nails", note="theirs"))
    node.take(shown=True)
    assert (await chosen.save(Item(id="nails", note="mine"))).is_accepted
    assert sorted(await versions(chosen)) == [(0, "mine"), (0, "theirs")]


def test_a_choice_for_accepted_writes_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="on_accepted='wait'"):
        connect("memory:", on_accepted="wait")  # type: ignore[arg-type]


async def test_a_deletion_that_forks_is_a_conflict(items: Repository[Item], node: Node) -> None:
    item = await items.get("nails")
    await change(items, note="theirs")
    node.take(shown=True)
    with pytest.raises(ConflictError) as caught:
        await items.delete(item)
    assert caught.value.theirs.note == "theirs"
    assert await versions(items) == [(10, "theirs")]


async def test_a_change_that_is_accepted_gives_way_to_a_deletion(items: Repository[Item], node: Node) -> None:
    item = await items.get("nails")
    item.note = "mine"
    await items.delete(await items.get("nails"))
    node.take(shown=True)
    with pytest.raises(ConflictError) as caught:
        await items.save(item)
    assert (caught.value.theirs, await items.get_or_none("nails")) == (None, None)


async def test_a_deletion_that_is_accepted_deletes(items: Repository[Item], node: Node) -> None:
    item = await items.get("nails")
    node.take(shown=True)
    await items.delete(item)
    assert (item.rev, await items.get_or_none("nails")) == (None, None)


@pytest.mark.parametrize("shown", [True, False])
async def test_rows_that_fork_are_merged_or_refused(items: Repository[Item], node: Node, shown: bool) -> None:
    mine = [Item(id=id, amount=1) for id in ("nails", "screws", "bolts")]
    await items.delete(await items.get("nails"))
    await items.save_all(mine)
    for item, note in zip(mine[:2], ("", "theirs"), strict=True):
        theirs = await items.get(item.id)
        theirs.amount, theirs.note = 3, note
        await items.save(theirs)
        item.amount, item.note = 2, note and "mine"
    mine[2].amount = 2
    node.take(shown=shown)
    report = await items.save_all(mine, on_error="collect")
    ((refused, error),) = report.refused
    assert isinstance(error, ConflictError)
    assert (refused, error.fields, error.theirs.note) == (mine[1], {"note"}, "theirs")
    assert [item.id for item in report.saved] == ["nails", "bolts"]
    assert sorted(item.id for item in report.accepted) == ["bolts", "nails"]
    stored = [await items.get(item.id) for item in mine]
    assert [item.amount for item in stored] == [4, 3, 2]
    assert [await items.conflicts(item) for item in stored] == [[], [], []]


@pytest.mark.parametrize("shown", [True, False])
async def test_an_attachment_that_forks_is_merged_with_the_fields_of_others(
    items: Repository[Item], node: Node, shown: bool
) -> None:
    item = await items.get("nails")
    await change(items, amount=13)
    node.take(shown=shown)
    await item.photo.save(b"nails", "image/png")
    found = await items.get("nails")
    assert (found.amount, await found.photo.fetch(), await items.conflicts(found)) == (13, b"nails", [])
    assert item.rev == found.rev


async def test_deletions_by_a_query_that_fork_are_refused(items: Repository[Item], node: Node) -> None:
    query = items.find({"_id": "nails"})
    stubs = await query.stubs()
    await change(items, note="theirs")
    node.take(shown=False)
    [(id, error)] = await items.delete_each(stubs)
    assert id == "nails"
    assert isinstance(error, ConflictError)
    assert (await items.get("nails")).note == "theirs"


async def test_deletions_in_bulk_that_fork_are_refused(items: Repository[Item], node: Node) -> None:
    doomed = [await items.get("nails"), Item(id="screws")]
    await items.save(doomed[1])
    await change(items, note="theirs")
    node.take(shown=True)
    report = await items.delete_all(doomed, on_error="collect")
    ((refused, error),) = report.refused
    assert (refused, type(error), report.deleted) == (doomed[0], ConflictError, doomed[1:])
    assert [doomed[0].rev is None, await items.get_or_none("screws")] == [False, None]


async def test_files_of_a_save_that_gives_way_are_saved_with_the_merge(
    items: Repository[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    item = await items.get("nails")
    base, item.photo, item.amount = item.rev or "", File(b"mine", "image/png"), 11
    history = {"start": 2, "ids": ["f" * 32, base.partition("-")[2]]}
    theirs = {"_id": "nails", "_rev": f"2-{'f' * 32}", "_revisions": history, "amount": 12, "note": "theirs"}
    send = Session.send

    async def send_to_a_node(session: Session, request: Request) -> Response:
        """Accept the write while another node has stored theirs."""
        monkeypatch.setattr(Session, "send", send)
        answer = await send(session, request)
        body = encode({"new_edits": False, "docs": [theirs]})
        await send(session, Request("POST", (*items.path, "_bulk_docs"), body=body))
        return Response(202, body=answer.body)

    monkeypatch.setattr(Session, "send", send_to_a_node)
    await items.save(item)
    assert await versions(items) == [(13, "theirs")]
    assert await (await items.get("nails")).photo.fetch() == b"mine"


class Answers:
    """The answers to the next writes, in the place of the right ones; None leaves the right one."""

    def __init__(self) -> None:
        self.left: list[Exception | None] = []
        self.methods: tuple[str, ...] = ("PUT", "DELETE")
        self.is_carried_out = True
        self.then: Callable[[], Any] | None = None


@pytest.fixture
def answers(couch: Connection, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Writes get these answers."""
    answers, send = Answers(), Session.send

    async def lossy(session: Session, request: Request) -> Response:
        if request.method not in answers.methods or not answers.left:
            return await send(session, request)
        error = answers.left.pop(0)
        if error is None:
            return await send(session, request)
        if answers.is_carried_out:
            await send(session, request)
        if answers.then is not None:
            await answers.then()
        raise error

    monkeypatch.setattr(Session, "send", lossy)
    return answers


MISSING_STUB = PreconditionFailedError("Invalid attachment stub in nails for photo", code="missing_stub")
LOST = [ProtocolError("cut off"), MISSING_STUB]


@pytest.mark.parametrize("error", LOST)
async def test_a_write_without_its_answer_is_found(items: Repository[Item], answers: Answers, error: Exception) -> None:
    item = await items.get("nails")
    item.amount = 11
    answers.left.append(error)
    await items.save(item)
    stored = await items.get("nails")
    assert (stored.amount, stored.rev, item.is_changed) == (11, item.rev, False)


async def test_a_document_with_a_file_without_its_answer_is_found(items: Repository[Item], answers: Answers) -> None:
    item = Item(id="screws")
    item.photo = File(b"x" * 100, "image/png")
    answers.left.append(ProtocolError("cut off"))
    await items.save(item)
    stored = await items.get("screws")
    assert (stored.rev, await stored.photo.fetch()) == (item.rev, b"x" * 100)
    assert await items.save(item) == (False, False)


async def test_a_bulk_write_without_its_answer_can_be_repeated(items: Repository[Item], answers: Answers) -> None:
    mine = [await items.get("nails"), Item(id="screws", amount=1)]
    mine[0].amount = 11
    answers.methods = ("POST",)
    answers.left.append(ProtocolError("cut off"))
    with pytest.raises(ProtocolError):
        await items.save_all(mine)
    await change(items, amount=12)
    mine[1].note = "more"
    report = await items.save_all(mine)
    assert report.saved == mine
    assert await versions(items) == [(12, "")]
    assert (await items.get("screws")).note == "more"


async def test_a_new_document_without_its_answer_is_found(items: Repository[Item], answers: Answers) -> None:
    answers.left.append(ProtocolError("cut off"))
    item = Item(id="screws", amount=1)
    await items.save(item)
    assert (await items.get("screws")).rev == item.rev


async def test_an_edit_without_its_answer_counts_once(items: Repository[Item], answers: Answers) -> None:
    async def add_one() -> None:
        answers.then = None
        async with items.edit("nails") as other:  # of the document that holds the write already
            other.amount += 1

    async with items.edit("nails") as item:
        item.amount += 1
        answers.left.append(ProtocolError("cut off"))
        answers.then = add_one
    assert (await items.get("nails")).amount == 12


async def test_an_edit_that_was_cancelled_and_is_saved_again_counts_once(
    items: Repository[Item], lost: Callable[[BaseException], None]
) -> None:
    item = await items.get("nails")
    lost(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await item.update(amount=11)
    await change(items, amount=12)
    await item.update(note="again")
    assert await versions(items) == [(12, "again")]


async def test_a_write_that_was_not_carried_out_raises_the_error(items: Repository[Item], answers: Answers) -> None:
    item = await items.get("nails")
    item.amount = 11
    answers.is_carried_out = False
    answers.left.append(ProtocolError("cut off"))
    with pytest.raises(ProtocolError):
        await items.save(item)
    assert (item.is_changed, (await items.get("nails")).amount) == (True, 10)
    await items.save(item)
    assert await versions(items) == [(11, "")]


async def test_a_write_that_a_node_cannot_store_yet_is_sent_again(items: Repository[Item], answers: Answers) -> None:
    item = await items.get("nails")
    await item.photo.save(b"x", "image/png")
    item.amount = 11
    answers.is_carried_out = False
    answers.left += [MISSING_STUB] * 3
    await items.save(item)
    assert (await items.get("nails")).amount == 11


async def test_a_stub_that_stays_missing_raises_the_error(items: Repository[Item], answers: Answers) -> None:
    item = await items.get("nails")
    item.amount = 11
    answers.is_carried_out = False
    answers.left += [MISSING_STUB] * 100
    with pytest.raises(PreconditionFailedError):
        await items.save(item)


async def test_a_deletion_without_its_answer_is_found(items: Repository[Item], answers: Answers) -> None:
    item = await items.get("nails")
    answers.left.append(ProtocolError("cut off"))
    await items.delete(item)
    assert (item.rev, await items.get_or_none("nails")) == (None, None)


async def test_a_deletion_that_was_not_carried_out_raises_the_error(items: Repository[Item], answers: Answers) -> None:
    item = await items.get("nails")
    answers.is_carried_out = False
    answers.left.append(ProtocolError("cut off"))
    with pytest.raises(ProtocolError):
        await items.delete(item)
    assert item.rev is not None
