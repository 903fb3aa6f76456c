"""The settings of a client's timeouts and retries, each with its default. ``retries`` applies them."""

import warnings
from dataclasses import dataclass, fields
from typing import Any, Final

from couchmodel._wire.messages import Request
from couchmodel.errors import ConfigurationError

__all__ = ["Patience", "RetryPolicy", "is_feed", "read_timeout_of_feed"]

_FEEDS: Final = ("_changes", "_db_updates")
"""The last segment of the path of a feed."""

_CHANGES_TIMEOUT: Final = 60.0
"""Seconds that CouchDB lets a feed be silent if the request does not say (manual, ``chttpd/changes_timeout``)."""

_SLACK: Final = 15.0
"""Seconds that a heartbeat may be late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The timeouts of a client, and how often it sends a request. Times are in seconds.

    ``connect``: the time until a connection is made, for each attempt.
    ``read_timeout``: the longest time without a byte from the server. A large body may take as long as it keeps coming.
    A feed may be silent for longer if its ``heartbeat`` or ``timeout`` says so.
    ``request``: the time for one attempt, from its first byte to the last of its answer; None sets no limit.
    ``total``: the time for a request with all its attempts and the waits between them. It ends with the answer, or with
    the beginning of an answer that is streamed; None sets no limit.
    ``attempts``: how often a request is sent at most; 1 retries nothing.
    ``backoff`` and ``backoff_max``: the wait before the first retry is a random time of at most ``backoff``. The limit
    doubles before each further retry, up to ``backoff_max``.
    ``retry_after_max``: the longest ``Retry-After`` of a server that is waited for. If a server asks for more, the
    request is not sent again, and the caller gets the server's answer.

    Raises ConfigurationError for fewer than one attempt, and for a time that is not a number or is below 0.
    """

    connect: float = 10.0
    read_timeout: float = 60.0
    request: float | None = None
    total: float | None = None
    attempts: int = 4
    backoff: float = 0.1
    backoff_max: float = 5.0
    retry_after_max: float = 30.0

    def __post_init__(self) -> None:
        """Check the values. Raises ConfigurationError."""
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise ConfigurationError(f"RetryPolicy(attempts={self.attempts!r}): it must be a whole number, at least 1")
        for name in (field.name for field in fields(self) if field.name != "attempts"):
            value = getattr(self, name)
            if value is None and name in ("request", "total"):
                continue
            if not isinstance(value, int | float) or not value >= 0:
                raise ConfigurationError(f"RetryPolicy({name}={value!r}): it must be a number of seconds, 0 or more")


class Patience(RetryPolicy):
    """The former name of :class:`RetryPolicy`, kept for one version.

    ``tries`` is the former name of ``attempts``, and ``silence`` that of ``read_timeout``. Making one gives a
    DeprecationWarning.
    """

    __slots__ = ()

    def __init__(self, *, tries: int | None = None, silence: float | None = None, **values: Any) -> None:
        """``values`` are those of :class:`RetryPolicy`. The former names win over the new ones."""
        warnings.warn(
            "Patience is now RetryPolicy, with attempts= in place of tries= and read_timeout= in place of silence=; "
            "the old names work in this version only",
            DeprecationWarning,
            stacklevel=2,
        )
        # They win so that dataclasses.replace(), which hands over every field, can take them too.
        former: dict[str, Any] = {"attempts": tries, "read_timeout": silence}
        super().__init__(**values | {name: value for name, value in former.items() if value is not None})

    @property
    def tries(self) -> int:
        """The former name of ``attempts``."""
        return self.attempts

    @property
    def silence(self) -> float:
        """The former name of ``read_timeout``."""
        return self.read_timeout


def is_feed(request: Request) -> bool:
    """Return True if the answer is a feed, which is silent while nothing happens."""
    path = request.path
    # The normal feed ends with the changes so far, as any answer does.
    return bool(path) and path[-1] in _FEEDS and request.query.get("feed", "normal") != "normal"


def read_timeout_of_feed(request: Request, read_timeout: float | None) -> float | None:
    """Return the seconds that a feed may be silent: ``read_timeout``, or longer if its request says so.

    None stands for no limit.
    """
    agreed = [request.query.get(name, "") for name in ("heartbeat", "timeout")]
    # What client and server have agreed on in the request, in milliseconds.
    seconds = [int(text) / 1000 for text in agreed if text.isdecimal()] or [_CHANGES_TIMEOUT]
    return None if read_timeout is None else max(read_timeout, max(seconds) + _SLACK)
