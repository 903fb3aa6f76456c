"""Bulk writes without an answer."""

import asyncio

import pytest

from couchmodel import (
    Attachment,
    File,
    ProtocolError,
    Repository,
    attachment,
)
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Session
from tests.model.bulk.models import Note, make, names


@pytest.fixture
def answers(notes: Repository[Note], monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """What becomes of the next answers to bulk writes, which are carried out: None lets one pass."""
    outcomes: list[BaseException | None] = []
    send = Session.send

    async def lossy(session: Session, request: Request) -> Response:
        response = await send(session, request)
        if request.path[-1] == "_bulk_docs" and outcomes and (error := outcomes.pop(0)) is not None:
            raise error
        return response

    monkeypatch.setattr(Session, "send", lossy)
    return outcomes


LOST = [ProtocolError("cut off"), asyncio.CancelledError()]


@pytest.mark.parametrize("error", LOST)
async def test_documents_whose_answer_was_lost_can_be_saved_again(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(4)
    answers.append(error)
    with pytest.raises(type(error)):
        await notes.save_all(documents)
    assert [document.rev for document in documents] == [None] * 4
    documents[1].text = documents[2].text = "changed since"
    other = await notes.get("n002")
    await other.update(text="theirs")
    report = await notes.save_all(documents, on_error="collect")
    assert [document.id for document, _ in report.refused] == ["n002"]
    stored = await notes.get_many(["n000", "n001", "n003"])
    assert stored == [documents[0], documents[1], documents[3]]
    assert [each and each.rev for each in stored] == [documents[n].rev for n in (0, 1, 3)]
    documents[3].text = "once more"
    await documents[3].save()


@pytest.mark.parametrize("error", LOST)
async def test_what_was_stored_before_an_answer_was_lost_is_known(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(25)
    answers.extend([None, error])
    with pytest.raises(type(error)):
        await notes.save_all(iter(documents))
    assert [bool(document.rev) for document in documents] == [True] * 10 + [False] * 15
    assert (await notes.save_all(documents)).saved == documents
    assert len(await names(notes)) == 25


@pytest.mark.parametrize("error", LOST)
async def test_documents_whose_deletion_got_no_answer_can_be_deleted_again(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(3)
    await notes.save_all(documents)
    answers.append(error)
    with pytest.raises(type(error)):
        await notes.delete_all(documents)
    report = await notes.delete_all(documents)
    assert (report.deleted, [document.rev for document in documents]) == (documents, [None] * 3)
    await notes.save_all(documents)
    assert len(await names(notes)) == 3


@pytest.mark.parametrize("error", LOST)
async def test_a_deletion_is_not_taken_for_a_save_that_got_no_answer(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(2)
    await notes.save_all(documents)
    for document in documents:
        document.text = "new"
    answers.append(error)
    with pytest.raises(type(error)):
        await notes.save_all(documents)
    report = await notes.delete_all(documents, on_error="collect")
    assert (len(report.deleted), await names(notes)) == (2, [])


@pytest.mark.parametrize("error", LOST)
async def test_a_save_is_not_taken_for_a_deletion_that_got_no_answer(
    notes: Repository[Note], answers: list[BaseException | None], error: BaseException
) -> None:
    documents = make(2)
    await notes.save_all(documents)
    answers.append(error)
    with pytest.raises(type(error)):
        await notes.delete_all(documents)
    for document in documents:
        document.text = "new"
    report = await notes.save_all(documents, on_error="collect")
    stored = await names(notes)
    assert [document.id for document in report.saved] == stored


class Pictured(Note):
    picture: Attachment = attachment()


@pytest.mark.parametrize("media_type", ["text/plain", "image/png"])
@pytest.mark.parametrize("second", [b"first", b"other", b"longer than the first"])
@pytest.mark.parametrize("error", LOST)
async def test_documents_with_files_can_be_saved_again(
    notes: Repository[Note],
    answers: list[BaseException | None],
    error: BaseException,
    media_type: str,
    second: bytes,
) -> None:
    pictured = Repository(Pictured, notes.database)
    document = Pictured(id="a")
    document.picture = File(b"first", media_type)
    answers.append(error)
    with pytest.raises(type(error)):
        await pictured.save_all([document])
    document.picture = File(second, media_type)
    await pictured.save_all([document])
    stored = await pictured.get("a")
    assert (await stored.picture.fetch(), stored.rev, document.is_changed) == (second, document.rev, False)
    assert await document.picture.fetch() == second
