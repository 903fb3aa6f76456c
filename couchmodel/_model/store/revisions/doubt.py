"""Writes whose outcome is in doubt, settled by reading again.

A write is in doubt if its answer was lost, if the answer is 202, and if it is 412 ``missing_stub``. A node of a cluster
answers 202 (accepted) if less than a majority of the nodes have stored the write: because nodes are down, or because
others have stored another write of the same document. Then there is a fork, which nobody else reports. A node answers
412 ``missing_stub`` if another node lacks an attachment, also after the write was stored.
"""

import asyncio
import base64
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, get_args
from weakref import WeakKeyDictionary

from couchmodel._model.codec import codec
from couchmodel._model.codec.changes import is_changed
from couchmodel._model.schema import state
from couchmodel._model.store.revisions.basis import Basis
from couchmodel._model.store.revisions.conflicts import merge_leaves
from couchmodel._model.store.revisions.history import (
    History,
    end_version,
    read_history,
    read_revisions,
    write_merge,
)
from couchmodel._model.store.revisions.merging import VersionSource, load_version
from couchmodel._retry import Backoff, retry
from couchmodel._wire.equality import json_equal
from couchmodel._wire.messages import Request, decode, document_path, encode
from couchmodel.engine import Session
from couchmodel.engine._io.lost_answers import may_be_carried_out
from couchmodel.errors import (
    AcceptedError,
    ConfigurationError,
    ConflictError,
    CouchModelError,
    DocumentError,
    PreconditionFailedError,
    TransportError,
)
from couchmodel.types import JSONObject, WriteAnswer

__all__ = [
    "ForkError",
    "OnAccepted",
    "SaveResult",
    "Sent",
    "Write",
    "find_own",
    "send_deletion",
    "send_write",
    "set_on_accepted",
    "settle_deletion",
    "settle_stub",
    "settle_write",
]

OnAccepted = Literal["settle", "raise", "ignore"]

_ATTEMPTS: Final = 10
"""How often a write is sent that another node cannot store yet."""

_PATIENCE: Final = 0.3
_PATIENT_WRITES: Final = 10
"""The seconds in which another writer may end a fork: so many, or as long as so many writes take."""

_TRIES: Final = 100
"""How often a merge is tried while others go on to write."""

_BACKOFF: Final = Backoff(0.02, longest=0.5, jitter=True)

_on_accepted: Final[WeakKeyDictionary[Session, OnAccepted]] = WeakKeyDictionary()
"""The choices of sessions for accepted writes. Sessions that are not here settle them."""


class SaveResult(NamedTuple):
    """The outcome of a save: if it sent something, and if less than a majority of the nodes have it so far."""

    is_sent: bool = True
    is_accepted: bool = False


class ForkError(ConflictError):
    """Another version was stored on other nodes at the same time, and is left: a merge with it may be tried."""


class Sent(NamedTuple):
    """A write that is stored on a node: its text, its revision, and how long it took.

    If ``is_in_doubt``, other nodes may have stored another one. If ``is_found``, it got no answer, and was sent with
    ``files``; ``is_earlier`` if it is the write of an earlier save then.
    """

    body: bytes
    rev: str
    seconds: float
    is_accepted: bool = False
    is_in_doubt: bool = False
    is_found: bool = False
    is_earlier: bool = False
    files: Mapping[str, Any] = MappingProxyType({})


Write = Callable[[], Awaitable[tuple[bytes, WriteAnswer]]]
"""A function that sends a write, and returns the text of the document as it is stored, and CouchDB's answer."""


def set_on_accepted(session: Session, choice: OnAccepted) -> None:
    """Set what the session does about writes that are accepted only. Raises ConfigurationError for no such choice."""
    if choice not in get_args(OnAccepted):
        raise ConfigurationError(f"on_accepted={choice!r}: it is one of {', '.join(get_args(OnAccepted))}")
    _on_accepted[session] = choice


async def send_write(source: VersionSource, document: Any, body: bytes, write: Write) -> Sent:
    """Send a document, and return the write that is stored: this one, or an earlier one that got no answer.

    ``body`` is the text by which the write is found if its answer is lost. Raises ConflictError if another revision is
    stored by now, and a TransportError if the write is not found, so that it may still be carried out.
    """
    try:
        return await _send(source, document, body, write)
    except PreconditionFailedError as error:
        if not _is_missing_stub(error):
            raise
    # The other node gets the attachment soon.
    return await retry(
        lambda: _send(source, document, body, write),
        attempts=_ATTEMPTS,
        backoff=_BACKOFF,
        is_temporary_error=_is_missing_stub,
    )


async def _send(source: VersionSource, document: Any, body: bytes, write: Write) -> Sent:
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        stored, answer = await write()
    # The request may be on its way when the task is cancelled.
    except asyncio.CancelledError:
        state.note_unanswered(document, body)
        raise
    except (ConflictError, PreconditionFailedError, TransportError) as error:
        if not _may_be_stored(error):
            raise
        # A write that is refused as a conflict stores nothing. An earlier attempt may have stored what it conflicts
        # with.
        if not isinstance(error, ConflictError):
            state.note_unanswered(document, body)
        found = await find_own(source, document)
        if found is None:
            raise
        own, is_in_doubt = found
        text = encode(own.stored)
        files = state.unanswered_files(document, own.sent)
        # Fields or files that were changed after the earlier attempt are still to be sent.
        is_earlier = own.sent != body or files != state.assigned_files(document)
        seconds = clock() - begun
        return Sent(text, own.rev, seconds, False, is_in_doubt, is_found=True, is_earlier=is_earlier, files=files)
    accepted = bool(answer.get("accepted"))
    return Sent(stored, answer["rev"], clock() - begun, accepted, accepted)


def _may_be_stored(error: CouchModelError) -> bool:
    """Return True if a write may be stored that ended with this error, or an earlier attempt of it."""
    if isinstance(error, TransportError):
        return may_be_carried_out(error)
    return isinstance(error, ConflictError) or _is_missing_stub(error)


def _is_missing_stub(error: BaseException) -> bool:
    return isinstance(error, PreconditionFailedError) and error.code == "missing_stub"


class OwnWrite(NamedTuple):
    """A write that got no answer and is stored: the text that was sent, and the revision that is stored."""

    sent: bytes
    stored: JSONObject

    @property
    def rev(self) -> str:
        """The id of the revision."""
        return str(self.stored["_rev"])


async def find_own(source: VersionSource, document: Any) -> tuple[OwnWrite, bool] | None:
    """Return the write of a document that got no answer and is stored all the same; None if there is none.

    It comes with True if the document has other versions beside it.
    """
    sent = {body: decode(body) for body in state.unanswered_bodies(document)}
    if not sent:
        return None
    with suppress(CouchModelError):  # the caller's error says more than that of this search
        history = await read_history(source.database, document.id)
        candidates = {body: _successors(history, each.get("_rev")) for body, each in sent.items()}
        wanted = sorted({rev for revs in candidates.values() for rev in revs})
        found = await read_revisions(source.database, document.id, wanted)
        for body, revs in candidates.items():
            for rev in revs:
                if rev in found and _is_same_content(found[rev], sent[body]):
                    return OwnWrite(body, found[rev]), len(history.live) > 1
    return None


def _successors(history: History, rev: str | None) -> list[str]:
    """Return the revisions that a write on top of a revision may have made; None stands for a document that was new."""
    successors = history.children(rev)
    return successors if rev else [*successors, *history.live]  # a deleted document may be made anew


def _is_same_content(stored: JSONObject, sent: JSONObject) -> bool:
    """Return True if a revision may be a text that was sent. Stubs are compared as far as both are known."""
    one, other = (each.get("_attachments") or {} for each in (stored, sent))
    if one.keys() != other.keys():
        return False
    for name in one:
        stubs = one[name], _expected_stub(other[name])
        for member in ("digest", "length"):
            if len({stub.get(member) for stub in stubs} - {None}) > 1:
                return False
    return json_equal(*({key: value for key, value in each.items() if key[0] != "_"} for each in (stored, sent)))


def _expected_stub(sent: JSONObject) -> JSONObject:
    """Return what is known of the stub of an attachment that was sent. CouchDB may compress a content."""
    data = sent.get("data")
    return {"length": len(base64.b64decode(data))} if isinstance(data, str) else sent


async def settle_write(source: VersionSource, document: Any, before: Basis, sent: Sent) -> None:
    """Settle a write of a document that has its revision by now. ``before`` is the state before the write.

    If there is a fork, the versions are merged, and the document has the merged values then. A merge is a function of
    the versions, and says which changes it holds, so a change counts once however many writers merge the fork. For the
    same reason a version is never ended to have its change made again: a merge by another writer may be on its way.

    The writer merges whose version CouchDB does not show. The other one waits for it, and merges if it does not: its
    write was stored by a majority of the nodes then, and its writer does not know of the fork.

    If fields clash, the own version is ended and ForkError raised, so that the caller can tell the conflict; the
    document is as before the write. A change gives way to a deletion in the same way.

    Raises AcceptedError if the connection is to raise it, and if no node has the write any more.
    """
    if sent.is_accepted and not _is_to_settle(source, document.id, sent.rev):
        return
    clock = asyncio.get_running_loop().time
    deadline = clock() + max(_PATIENCE, _PATIENT_WRITES * sent.seconds)
    merges = tries = 0
    for attempt in itertools.count(1):
        history = await read_history(source.database, document.id)
        if sent.rev not in history:
            before.give_to(document)
            raise _accepted_error(document.id, sent.rev, "the node that had it cannot be reached: try again")
        versions = _versions_since(history, before.rev)
        if sent.rev in versions and history.is_deleted(before.rev):
            await _end_own(source, document, before, history, sent.rev)
        # After so many tries the fork stays. ``resolve`` can end it.
        elif len(versions) < 2 or tries == _TRIES:
            # A caller that has changed the document meanwhile keeps its changes; the next save merges them.
            if merges and not is_changed(document):
                codec.adopt(document, load_version(source, history[versions[0]]))
            return
        elif sent.rev in versions[1:] or clock() >= deadline:
            tries += 1
            merges += await _merge(source, document, before, history, sent.rev)
        await asyncio.sleep(_BACKOFF.wait(attempt))


async def _end_own(source: VersionSource, document: Any, before: Basis, history: History, own: str) -> None:
    """End the own version. Raises ForkError unless another writer has changed or merged it at the same moment."""
    await end_version(source.database, history[own], source.model.__declared__.type_field)
    history = await read_history(source.database, document.id)
    # If a leaf holds the own version by now, the change counts, and the tombstone that was just written does no harm.
    if not any(own in history.held_by(each) for each in history.live):
        before.give_to(document)
        raise ForkError("Document update conflict.")


async def _merge(source: VersionSource, document: Any, before: Basis, history: History, own: str) -> bool:
    """Merge the versions into the one that CouchDB shows. Return False if others have stored a further one meanwhile.

    A merge is written whatever others do, so where many write, it would mostly make another fork. So the version that
    CouchDB shows is stored again just before, which is refused if it is not the last one any more.

    If fields clash, the own version gives way and ForkError is raised.
    """
    shown, *others = versions = [history[each] for each in _versions_since(history, before.rev)]
    revs = [each["_rev"] for each in versions]
    # The client still has the text of the revision before, which the server may have compacted away.
    bases = {} if before.rev is None or before.body is None else {before.rev: decode(before.body)}
    try:
        content = await merge_leaves(source, history, revs, bases=bases)
    except (ConflictError, DocumentError):
        if own in revs[1:]:
            await _end_own(source, document, before, history, own)
        elif own == revs[0]:
            await _give_way(source, document, before, shown, others[0])
        return False
    # A node that lacks a version cannot store its attachments. It gets the version soon.
    with suppress(PreconditionFailedError):
        if again := await _store_again(source, shown):
            await write_merge(source.database, again, others, content, source.model.__declared__.type_field)
            return True
    return False


async def _give_way(source: VersionSource, document: Any, before: Basis, own: JSONObject, other: JSONObject) -> None:
    """Store the content of the other version in the place of the own one, which CouchDB shows.

    Raises ForkError unless others have stored a further version meanwhile.
    """
    content = {name: value for name, value in other.items() if name != "_revisions"}
    again = await _store_again(source, own)
    if again is None:
        return
    # Attachments that the own version does not have cannot be stored. The fork stays then, and `resolve` ends it.
    with suppress(PreconditionFailedError):
        await write_merge(source.database, again, [other], content, source.model.__declared__.type_field)
    before.give_to(document)
    raise ForkError("Document update conflict.")


async def _store_again(source: VersionSource, version: JSONObject) -> JSONObject | None:
    """Store a version once more on top of itself, and return it; None if others have stored a further one meanwhile."""
    path = document_path(source.database.path, version["_id"])
    body = encode({name: value for name, value in version.items() if name != "_revisions"})
    try:
        answer = await source.database.session.json(Request("PUT", path, body=body))
    except (ConflictError, PreconditionFailedError):
        return None
    # If less than a majority has stored it, this may be a fork, too, and not the last version.
    if "accepted" in answer:
        return None
    revisions = version["_revisions"]
    ids = [answer["rev"].partition("-")[2], *revisions["ids"]]
    return {**version, "_rev": answer["rev"], "_revisions": {"start": revisions["start"] + 1, "ids": ids}}


async def send_deletion(source: VersionSource, document: Any, request: Request) -> None:
    """Send the deletion of a document, and settle it if its answer is lost, or if it is accepted only.

    Raises ConflictError if another program has changed the document at the same time, or before.
    """
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        answer = await source.database.session.json(request)
    except TransportError as error:
        if not may_be_carried_out(error) or not await _is_deleted(source, document):
            raise
    else:
        if not answer.get("accepted") or not _is_to_settle(source, document.id, answer["rev"]):
            return
    await _check_deleted(source, document.id, document.rev, clock() - begun)


async def settle_deletion(source: VersionSource, document: Any, before: Basis, sent: Sent) -> None:
    """Settle a deletion that was accepted only. ``before`` is the state of the document before it.

    Raises ConflictError if another program has changed the document at the same time: the document is as before then.
    """
    if _is_to_settle(source, document.id, sent.rev):
        try:
            await _check_deleted(source, document.id, before.rev, sent.seconds)
        except ConflictError:
            before.give_to(document)
            raise


async def settle_stub(source: VersionSource, id: str, before: str, rev: str, seconds: float) -> None:
    """Settle the deletion, as revision ``rev``, of revision ``before`` of a document that is not loaded.

    Raises ConflictError if another program has changed the document at the same time; AcceptedError if the connection
    is to raise it.
    """
    if _is_to_settle(source, id, rev):
        await _check_deleted(source, id, before, seconds)


async def _check_deleted(source: VersionSource, id: str, rev: str | None, seconds: float) -> None:
    """Raise ConflictError if a revision that was deleted was also changed, and its writer does not give way."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + max(_PATIENCE, _PATIENT_WRITES * seconds)
    for attempt in itertools.count(1):
        if not _versions_since(await read_history(source.database, id), rev):
            return
        if clock() >= deadline:
            raise ConflictError("Document update conflict.")
        await asyncio.sleep(_BACKOFF.wait(attempt))


async def _is_deleted(source: VersionSource, document: Any) -> bool:
    """Return True if the revision of a document was deleted. The caller's error says more than one of this search."""
    with suppress(CouchModelError):
        history = await read_history(source.database, document.id)
        return history.is_deleted(document.rev)
    return False


def _versions_since(history: History, rev: str | None) -> list[str]:
    """Return the leaves that hold the changes of a revision; all leaves for None."""
    return [each for each in history.live if rev is None or rev in history.held_by(each)]


def _is_to_settle(source: VersionSource, id: str, rev: str) -> bool:
    """Return True if accepted writes are settled. Raises AcceptedError if the connection is to raise that."""
    choice = _on_accepted.get(source.database.session, "settle")
    if choice == "raise":
        raise _accepted_error(id, rev, "look with get_or_none() what is stored")
    return choice == "settle"


def _accepted_error(id: str, rev: str, advice: str) -> AcceptedError:
    message = f"less than a majority of the nodes have stored the write of {id!r}: {advice}"
    return AcceptedError(message, document_id=id, rev=rev)
