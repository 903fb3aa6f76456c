"""Checkpoints of a replication, from which the next one with the same id goes on.

Each end has a copy in a local document, the replication log of CouchDB's protocol. Only a sequence that both copies
have counts: an end that was restored from a backup or created anew has another history, or none.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Final

from couchmodel._replication.peer import Peer
from couchmodel.errors import ConflictError, ForbiddenError, ResponseError, UnauthorizedError

__all__ = ["Checkpoints"]

_log: Final = logging.getLogger("couchmodel.replication")

VERSION: Final = 4
"""CouchDB's version of its replication ids, which is part of its answer."""

_MAX_HISTORY: Final = 50
"""The most sessions in a history, as in CouchDB."""


class Checkpoints:
    """The checkpoints of one session of a replication.

    ``start`` is the sequence of the source after which the session begins. ``log`` is the last checkpoint, as CouchDB
    answers ``_replicate`` with it.
    """

    def __init__(self, source: Peer, target: Peer, id: str, session: str) -> None:
        self._source = source
        self._target = target
        self._id = id
        self._session = session
        self._revs: dict[Peer, str] = {}
        self._past: list[Any] = []
        self._began = formatdate(usegmt=True)
        self.start: str | int = 0
        self.before: Mapping[str, int] = {}
        """The counts of the last session before this one, and of all before that. CouchDB adds to them."""
        self.log: dict[str, Any] = {}

    async def read(self) -> str | int:
        """Read the checkpoints of both ends, and return the last sequence that both have; 0 if there is none."""
        logs = [await peer.read_checkpoint(self._id) for peer in (self._source, self._target)]
        for peer, log in zip((self._source, self._target), logs, strict=True):
            if "_rev" in log:
                self._revs[peer] = log["_rev"]
        self.start, self._past = _common_point(*logs)
        self.before = {name: count for name, count in (self._past or [{}])[0].items() if isinstance(count, int)}
        self.log = {name: value for name, value in logs[0].items() if name[:1] != "_"} if self._past else {}
        return self.start

    async def write(self, seq: str | int, counted: Mapping[str, int], *, by_ids: bool) -> None:
        """Write to both ends that the target has everything up to a sequence of the source.

        ``counted`` are the counts of the session; ``by_ids`` is True for a replication of ``doc_ids``.
        """
        now = formatdate(usegmt=True)
        times = {"start_time": self._began, "end_time": now}
        seqs = {"start_last_seq": self.start, "end_last_seq": seq, "recorded_seq": seq}
        entry = {"session_id": self._session, **times, **seqs, **counted}
        log: dict[str, Any] = {"session_id": self._session, "source_last_seq": seq, "replication_id_version": VERSION}
        if by_ids:  # CouchDB answers these as CouchDB 1.0 did
            done = {name: counted[name] for name in ("docs_read", "docs_written", "doc_write_failures")}
            log |= {**times, **done}
        self.log = {**log, "history": [entry, *self._past][:_MAX_HISTORY]}
        await self._write_source()
        await self._write(self._target)

    async def forget(self) -> None:
        """Make the checkpoint at the target invalid, so that no replication goes on from it."""
        self.log = {}
        with suppress(ResponseError):  # the database may be gone
            await self._write(self._target)

    async def _write_source(self) -> None:
        try:
            await self._write(self._source)
        except (UnauthorizedError, ForbiddenError):
            # A user may be allowed to read the source only. Then the next replication begins at its first change.
            _log.warning("%s does not allow a checkpoint to be written", self._source.name)

    async def _write(self, peer: Peer) -> None:
        try:
            self._revs[peer] = await peer.write_checkpoint(self._id, self._with_rev(peer))
        except ConflictError:
            # The answer to an earlier attempt was lost, or another session has the same id. The last write counts.
            self._revs[peer] = (await peer.read_checkpoint(self._id)).get("_rev", "")
            self._revs[peer] = await peer.write_checkpoint(self._id, self._with_rev(peer))

    def _with_rev(self, peer: Peer) -> dict[str, Any]:
        rev = self._revs.get(peer)
        return {**self.log, "_rev": rev} if rev else self.log


def _common_point(source: Mapping[str, Any], target: Mapping[str, Any]) -> tuple[str | int, list[Any]]:
    """Return the last sequence that both logs have, and the sessions until then; 0 and none if they have none.

    A session writes more than one checkpoint. If one end was set back to an earlier one, that one counts. CouchDB would
    go on from the later one.
    """
    ours, theirs = _sessions(source), {each.get("session_id"): each for each in _sessions(target)}
    for position, entry in enumerate(ours):
        if (other := theirs.get(entry.get("session_id"))) is not None:
            return _older(entry.get("recorded_seq", 0), other.get("recorded_seq", 0)), ours[position:]
    return 0, []


def _older(one: str | int, other: str | int) -> str | int:
    """Return the sequence with the lower number; 0 if one has no number and they differ.

    Only the source can read what follows the number.
    """
    try:
        return min(one, other, key=lambda seq: int(str(seq).partition("-")[0]))
    except ValueError:
        return one if one == other else 0


def _sessions(log: Mapping[str, Any]) -> list[Any]:
    history = log.get("history", [])
    return [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
