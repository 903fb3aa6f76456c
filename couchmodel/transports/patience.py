"""How long a client waits for a server, and how often it asks again: every such knob, with its default."""

from dataclasses import dataclass, fields
from typing import Final

from couchmodel._wire.messages import Request
from couchmodel.errors import ConfigurationError

__all__ = ["Patience", "is_feed", "silence_of_feed"]

_FEEDS: Final = ("_changes", "_db_updates")
_PULSE: Final = 60.0
"""Seconds that CouchDB lets a feed be silent where the request does not say (manual, ``chttpd/changes_timeout``)."""

_SLACK: Final = 15.0
"""Seconds that a heartbeat may be late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a client waits for a server, and how often it asks again. Times are in seconds.

    ``connect``: until a connection is made, for each try.
    ``silence``: without a byte from the server. A large body may take as long as it keeps coming. A feed that is
    told to be silent for longer, by its ``heartbeat`` or ``timeout``, may be.
    ``request``: for one try, from its first byte to the last of its answer; None sets no end.
    ``total``: for a request with all its tries and the waits between them, until its answer begins to arrive where
    it is streamed; None sets no end.
    ``tries``: how often a request is sent at most; 1 repeats nothing.
    ``backoff`` and ``backoff_max``: the wait before a repeat is a random time of at most ``backoff``, and of at most
    twice as much before each further one, up to ``backoff_max``.
    ``retry_after_max``: the longest ``Retry-After`` of a server that is waited for. One that asks for more gets no
    repeat, and the caller its answer.
    """

    connect: float = 10.0
    silence: float = 60.0
    request: float | None = None
    total: float | None = None
    tries: int = 4
    backoff: float = 0.1
    backoff_max: float = 5.0
    retry_after_max: float = 30.0

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a value that means nothing."""
        if not isinstance(self.tries, int) or self.tries < 1:
            raise ConfigurationError(f"Patience(tries={self.tries!r}): a request is sent once at least")
        for name in (field.name for field in fields(self) if field.name != "tries"):
            value = getattr(self, name)
            if value is None and name in ("request", "total"):
                continue
            if not isinstance(value, int | float) or not value >= 0:
                raise ConfigurationError(f"Patience({name}={value!r}): seconds are a number, and not below 0")


def is_feed(request: Request) -> bool:
    """Whether the answer is a feed, which is silent while there is nothing to tell."""
    path = request.path
    return bool(path) and path[-1] in _FEEDS and request.query.get("feed", "normal") != "normal"


def silence_of_feed(request: Request, silence: float | None) -> float | None:
    """How long a feed may be silent: ``silence``, or longer where its request says so; None sets no end."""
    agreed = [request.query.get(name, "") for name in ("heartbeat", "timeout")]
    seconds = [int(text) / 1000 for text in agreed if text.isdecimal()] or [_PULSE]
    return None if silence is None else max(silence, max(seconds) + _SLACK)
