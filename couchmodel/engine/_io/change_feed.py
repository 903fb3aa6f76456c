"""The request of a ``_changes`` feed, and the position up to which its answer has been read."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from couchmodel._wire.messages import Request, decode, encode
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["FeedPosition", "FeedRequest", "encode_param"]

HEARTBEAT: Final = 20_000
"""The longest time between two heartbeats of a continuous feed, in milliseconds.

It is well below the 60 s after which a transport gives up a silent connection. CouchDB's own default, 60 s, is not.
"""

MAX_MISSED_HEARTBEATS: Final = 3
MIN_READ_TIMEOUT: Final = 5.0
"""A connection counts as lost after this many missed heartbeats, but not before this many seconds."""

_FEEDS: Final = {
    "normal": "normal",
    "longpoll": "longpoll",
    "continuous": "continuous",
    "live": "continuous",
    # An event source has the same changes in another format, which cannot say that it is complete. And CouchDB 3.5
    # ends it with bytes that spoil the next answer on its connection.
    "eventsource": "continuous",
}
# CouchDB ignores these parameters without the filter they belong to, so the filter is added.
_IMPLIED_FILTERS: Final = {"doc_ids": "_doc_ids", "selector": "_selector", "view": "_view"}
_PARSED_PARAMS: Final = frozenset({"feed", "limit", "heartbeat", "timeout", "doc_ids", "selector"})


class FeedPosition:
    """The last sequence that a feed has reached, and the number of changes until its limit."""

    def __init__(self, since: str | None, limit: int | None) -> None:
        self.last_seq = since
        self.remaining = limit
        self.pending: int | None = None
        self.has_answer = False
        self.has_changes = False
        self._uncounted = 0

    @property
    def is_exhausted(self) -> bool:
        """True if the feed has given as many changes as its limit allows."""
        return self.has_changes and self.remaining == 0

    def rewind(self) -> None:
        """Go back to ``last_seq``: the changes after it come again."""
        self._uncounted = 0

    def note_change(self, sequence: str | None) -> None:
        """Count a change that was given, with its sequence if it has one.

        Changes without a sequence are taken off the limit at the next sequence, because a feed that breaks off goes on
        from the last sequence.
        """
        self.has_changes = True
        self._uncounted += 1
        if sequence is not None:
            self._advance(sequence)

    def finish(self, members: JSONObject) -> None:
        """Take ``pending`` and ``last_seq`` from the end of an answer."""
        self.pending = members.get("pending")
        self._advance(members.get("last_seq", self.last_seq))

    def _advance(self, sequence: str | None) -> None:
        self.last_seq = sequence
        if self.remaining is not None:
            self.remaining = max(0, self.remaining - self._uncounted)
        self._uncounted = 0


class FeedRequest:
    """The parameters of a ``_changes`` feed, except for the place where it begins."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Raises QueryError if a parameter is wrong or contradicts another."""
        given = {name: value for name, value in params.items() if value is not None}
        for name, implied in _IMPLIED_FILTERS.items():
            if name in given and given.setdefault("filter", implied) != implied:
                raise QueryError(f"{name}= needs filter={implied!r}, not filter={given['filter']!r}")
        self.mode = _read_feed(given.get("feed", "normal"))
        self.limit = _read_count("limit", given.get("limit"))
        self.is_continuous = self.mode == "continuous"
        self.is_descending = given.get("descending") in (True, "true")
        if self.is_descending and self.mode != "normal":
            raise QueryError("a feed that waits for changes cannot go backwards: leave out descending or feed")
        self.timeout, self.heartbeat = self._read_waits(given)
        self.body = _request_body(given)
        self._query = {
            name: encode_param(name, value) or "" for name, value in given.items() if name not in _PARSED_PARAMS
        }

    @property
    def read_timeout(self) -> float | None:
        """The seconds without a byte after which a connection counts as lost; None leaves that to the transport."""
        return None if self.heartbeat is None else max(MIN_READ_TIMEOUT, self.heartbeat * MAX_MISSED_HEARTBEATS / 1000)

    @property
    def is_endless(self) -> bool:
        """True if the feed does not end before its limit."""
        return self.is_continuous and self.timeout is None

    def request(self, database: tuple[str, ...], position: FeedPosition) -> Request:
        """Return the request for the changes after a position."""
        # A copy: each connection begins at another sequence.
        query = dict(self._query)
        if position.last_seq is not None:
            query["since"] = position.last_seq
        # A longpoll that broke off after some changes has to bring the rest, not to wait for another change.
        if self.mode != "normal" and (self.is_continuous or not position.has_changes):
            query["feed"] = self.mode
        for name, value in (("limit", position.remaining), ("timeout", self.timeout), ("heartbeat", self.heartbeat)):
            if value is not None:
                query[name] = str(value)
        method = "GET" if self.body is None else "POST"
        return Request(method, (*database, "_changes"), query, body=self.body, stream=True)

    def _read_waits(self, given: JSONObject) -> tuple[int | None, int | None]:
        """Return the timeout and the heartbeat, never both: CouchDB does not end a feed that has a heartbeat."""
        timeout, heartbeat = _read_count("timeout", given.get("timeout")), given.get("heartbeat")
        if self.mode == "normal":
            return None, None
        # A heartbeat shows that the connection is alive, which silence does not.
        if timeout is None and (self.is_continuous or heartbeat):
            beats = HEARTBEAT if heartbeat in (None, True, False, "true") else _read_count("heartbeat", heartbeat)
            return None, min(beats or HEARTBEAT, HEARTBEAT)  # a longer one might look like a lost connection
        return timeout, None


def _read_feed(name: object) -> str:
    if not isinstance(name, str) or name not in _FEEDS:
        raise QueryError(f"feed={name!r} is unknown: known are {', '.join(_FEEDS)}")
    return _FEEDS[name]


def _read_count(name: str, value: Any) -> int | None:
    try:
        number = None if value is None else int(value)
    except (TypeError, ValueError):
        number = -1
    if number is not None and number < 0:
        raise QueryError(f"{name}={value!r} must be a whole number, 0 or more")
    return number


def encode_param(name: str, value: Any) -> str | None:
    """Return a parameter as a text for the query string: strings as they are, everything else as JSON.

    Raises QueryError if the value cannot be written as JSON.
    """
    if value is None or isinstance(value, str):
        return value
    try:
        return encode(value).decode()
    except ValueError:
        raise QueryError(f"{name}={value!r} cannot be sent: it cannot be written as JSON") from None


def _request_body(given: JSONObject) -> bytes | None:
    """Return the parameters that CouchDB reads from the body, ``doc_ids`` and ``selector``; None if there are none."""
    body: JSONObject = {}
    if "doc_ids" in given:
        ids = _parse_json("doc_ids", given["doc_ids"])
        if isinstance(ids, str | Mapping) or not isinstance(ids, Iterable):
            raise QueryError(f"doc_ids={ids!r} must be a list of ids")
        body["doc_ids"] = list(ids)
    if "selector" in given:
        body["selector"] = _parse_json("selector", given["selector"])
        if not isinstance(body["selector"], Mapping):
            raise QueryError(f"selector={body['selector']!r} must be a dictionary")
    return (encode_param("selector", body) or "").encode() if body else None


def _parse_json(name: str, value: Any) -> Any:
    """Return a value. A string is parsed as JSON, as aiocouch's users write it. Raises QueryError if it is no JSON."""
    if not isinstance(value, str):
        return value
    try:
        return decode(value.encode())
    except ValueError:
        raise QueryError(f"{name}={value!r} is neither a value nor a JSON text") from None
