"""Checkpoints: what both ends remember of a replication, so that the next one goes on where this one is.

Each end has a copy, in a local document. Only what both agree on counts: an end that was set back or made anew has
another history, or none.
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
"""Of CouchDB's replication ids, which is part of its answer."""

_LONGEST: Final = 50
"""Sessions that are remembered, as in CouchDB."""


class Checkpoints:
    """The checkpoints of one session of a replication."""

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
        """The counts of the sessions before this one, which CouchDB goes on with."""
        self.log: dict[str, Any] = {}

    async def read(self) -> str | int:
        """Where to begin: behind the last sequence that both ends remember."""
        logs = [await peer.log(self._id) for peer in (self._source, self._target)]
        for peer, log in zip((self._source, self._target), logs, strict=True):
            if "_rev" in log:
                self._revs[peer] = log["_rev"]
        self.start, self._past = _common_point(*logs)
        self.before = {name: count for name, count in (self._past or [{}])[0].items() if isinstance(count, int)}
        self.log = {name: value for name, value in logs[0].items() if name[:1] != "_"} if self._past else {}
        return self.start

    async def write(self, seq: str | int, counted: Mapping[str, int], *, by_ids: bool) -> None:
        """Remember that everything up to this sequence is there."""
        now = formatdate(usegmt=True)
        times = {"start_time": self._began, "end_time": now}
        seqs = {"start_last_seq": self.start, "end_last_seq": seq, "recorded_seq": seq}
        entry = {"session_id": self._session, **times, **seqs, **counted}
        log: dict[str, Any] = {"session_id": self._session, "source_last_seq": seq, "replication_id_version": VERSION}
        if by_ids:  # what CouchDB 1.0 answered for these, and CouchDB still does
            done = {name: counted[name] for name in ("docs_read", "docs_written", "doc_write_failures")}
            log |= {**times, **done}
        self.log = {**log, "history": [entry, *self._past][:_LONGEST]}
        await self._write_source()
        await self._write(self._target)

    async def forget(self) -> None:
        """Let no replication go on where this one is."""
        self.log = {}
        with suppress(ResponseError):  # there is no such database any more
            await self._write(self._target)

    async def _write_source(self) -> None:
        try:
            await self._write(self._source)
        except (UnauthorizedError, ForbiddenError):
            # A source that may only be read is a source: the next replication looks at all of it again.
            _log.warning("%s lets no checkpoint be written", self._source.name)

    async def _write(self, peer: Peer) -> None:
        try:
            self._revs[peer] = await peer.write_log(self._id, self._with_rev(peer))
        except ConflictError:
            # A try whose answer was lost, or another session of this replication: the last one counts.
            self._revs[peer] = (await peer.log(self._id)).get("_rev", "")
            self._revs[peer] = await peer.write_log(self._id, self._with_rev(peer))

    def _with_rev(self, peer: Peer) -> dict[str, Any]:
        rev = self._revs.get(peer)
        return {**self.log, "_rev": rev} if rev else self.log


def _common_point(source: Mapping[str, Any], target: Mapping[str, Any]) -> tuple[str | int, list[Any]]:
    """The sequence up to which both logs agree, and the sessions until then; 0 and none where they do not.

    A session writes more than one checkpoint. Where one end was set back to an earlier one, that is what counts:
    CouchDB would go on behind the later one.
    """
    ours, theirs = _sessions(source), {each.get("session_id"): each for each in _sessions(target)}
    for position, entry in enumerate(ours):
        if (other := theirs.get(entry.get("session_id"))) is not None:
            return _older(entry.get("recorded_seq", 0), other.get("recorded_seq", 0)), ours[position:]
    return 0, []


def _older(one: str | int, other: str | int) -> str | int:
    """The sequence with the lower number, for what follows the number is the source's business; 0 where it has none."""
    try:
        return min(one, other, key=lambda seq: int(str(seq).partition("-")[0]))
    except ValueError:
        return one if one == other else 0


def _sessions(log: Mapping[str, Any]) -> list[Any]:
    history = log.get("history", [])
    return [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
