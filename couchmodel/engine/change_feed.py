"""What is asked of ``_changes``, and how far its answer has been read."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from couchmodel._wire.messages import Request, decode, encode
from couchmodel.engine.change_events import BaseChangeEvent
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["Position", "Question", "parameter"]

HEARTBEAT: Final = 20_000
"""Milliseconds between the signs of life that a continuous feed asks for, at the most: well below the 60 s after which
a transport gives up a silent connection, as the 60 s of CouchDB's own default are not."""

MISSED_BEATS: Final = 3
LEAST_SILENCE: Final = 5.0
"""How many signs of life may fail to come before a connection counts as lost, and seconds that this takes at least."""

_FEEDS: Final = {
    "normal": "normal",
    "longpoll": "longpoll",
    "continuous": "continuous",
    "live": "continuous",
    # The same changes in another wrapping, which cannot say that it is complete; and CouchDB 3.5 ends it with bytes
    # that spoil the next answer on its connection.
    "eventsource": "continuous",
}
_IMPLIED: Final = {"doc_ids": "_doc_ids", "selector": "_selector", "view": "_view"}
_NAMED: Final = frozenset({"feed", "limit", "heartbeat", "timeout", "doc_ids", "selector"})


class Position:
    """How far a feed has come, and what is left of its limit."""

    def __init__(self, since: str | None, limit: int | None) -> None:
        self.last_seq = since
        self.left = limit
        self.pending: int | None = None
        self.answered = False
        self.moved = False
        self._unplaced = 0

    @property
    def exhausted(self) -> bool:
        """Whether all that the limit allows has been told."""
        return self.moved and self.left == 0

    def rewind(self) -> None:
        """Take note that the changes behind ``last_seq`` are told again."""
        self._unplaced = 0

    def move(self, event: BaseChangeEvent) -> None:
        """Go past a change. The limit counts up to the last sequence, for it is from there that a feed goes on."""
        self.moved = True
        self._unplaced += 1
        if event.sequence is not None:
            self._reach(event.sequence)

    def finish(self, members: JSONObject) -> None:
        """Take note of what an answer says at its end."""
        self.pending = members.get("pending")
        self._reach(members.get("last_seq", self.last_seq))

    def _reach(self, sequence: str | None) -> None:
        self.last_seq = sequence
        if self.left is not None:
            self.left = max(0, self.left - self._unplaced)
        self._unplaced = 0


class Question:
    """What is asked of ``_changes``, apart from where to begin."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        asked = {name: value for name, value in params.items() if value is not None}
        for name, implied in _IMPLIED.items():
            if name in asked and asked.setdefault("filter", implied) != implied:
                raise QueryError(f"{name}= goes with filter={implied!r}, not with filter={asked['filter']!r}")
        self.feed = _feed(asked.get("feed", "normal"))
        self.limit = _number("limit", asked.get("limit"))
        self.continuous = self.feed == "continuous"
        self.backwards = asked.get("descending") in (True, "true")
        if self.backwards and self.feed != "normal":
            raise QueryError("a feed that waits for changes cannot go backwards: leave out descending or feed")
        self.timeout, self.heartbeat = self._waits(asked)
        self.body = _body(asked)
        self._query = {name: parameter(name, value) or "" for name, value in asked.items() if name not in _NAMED}

    @property
    def silence(self) -> float | None:
        """Seconds without a byte after which a connection counts as lost; None leaves that to the transport."""
        return None if self.heartbeat is None else max(LEAST_SILENCE, self.heartbeat * MISSED_BEATS / 1000)

    @property
    def endless(self) -> bool:
        """Whether it does not end before its limit."""
        return self.continuous and self.timeout is None

    def request(self, database: tuple[str, ...], position: Position) -> Request:
        """The request for the changes behind a position."""
        query = dict(self._query)
        if position.last_seq is not None:
            query["since"] = position.last_seq
        # A longpoll that broke off half told is owed its other half, not another wait.
        if self.feed != "normal" and (self.continuous or not position.moved):
            query["feed"] = self.feed
        for name, value in (("limit", position.left), ("timeout", self.timeout), ("heartbeat", self.heartbeat)):
            if value is not None:
                query[name] = str(value)
        method = "GET" if self.body is None else "POST"
        return Request(method, (*database, "_changes"), query, body=self.body, stream=True)

    def _waits(self, asked: JSONObject) -> tuple[int | None, int | None]:
        """The timeout and the heartbeat; never both, for CouchDB does not end a feed that has a heartbeat."""
        timeout, heartbeat = _number("timeout", asked.get("timeout")), asked.get("heartbeat")
        if self.feed == "normal":
            return None, None
        if timeout is None and (self.continuous or heartbeat):
            beats = HEARTBEAT if heartbeat in (None, True, False, "true") else _number("heartbeat", heartbeat)
            return None, min(beats or HEARTBEAT, HEARTBEAT)
        return timeout, None


def _feed(name: object) -> str:
    if not isinstance(name, str) or name not in _FEEDS:
        raise QueryError(f"feed={name!r} is unknown: known are {', '.join(_FEEDS)}")
    return _FEEDS[name]


def _number(name: str, value: Any) -> int | None:
    try:
        number = None if value is None else int(value)
    except (TypeError, ValueError):
        number = -1
    if number is not None and number < 0:
        raise QueryError(f"{name}={value!r} must be a whole number, 0 or more")
    return number


def parameter(name: str, value: Any) -> str | None:
    """A parameter as it stands in a query: words as they are, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    try:
        return encode(value).decode()
    except ValueError:
        raise QueryError(f"{name}={value!r} cannot be sent: it has no JSON") from None


def _body(asked: JSONObject) -> bytes | None:
    """What has no place in a URL, or no room there."""
    body: JSONObject = {}
    if "doc_ids" in asked:
        ids = _parsed("doc_ids", asked["doc_ids"])
        if isinstance(ids, str | Mapping) or not isinstance(ids, Iterable):
            raise QueryError(f"doc_ids={ids!r} must be a list of ids")
        body["doc_ids"] = list(ids)
    if "selector" in asked:
        body["selector"] = _parsed("selector", asked["selector"])
        if not isinstance(body["selector"], Mapping):
            raise QueryError(f"selector={body['selector']!r} must be a dictionary")
    return (parameter("selector", body) or "").encode() if body else None


def _parsed(name: str, value: Any) -> Any:
    """A value, also where it is a JSON text, as aiocouch asks for."""
    if not isinstance(value, str):
        return value
    try:
        return decode(value.encode())
    except ValueError:
        raise QueryError(f"{name}={value!r} is neither a value nor a JSON text") from None
