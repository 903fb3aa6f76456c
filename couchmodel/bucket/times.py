"""The times of a bucket: in UTC, and as texts of a fixed width, whose order is their order in time."""

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["next_upload_date", "now", "parse_utc", "utc_text"]

_STEP: Final = timedelta(microseconds=1)
# A list, so that the last time can be replaced without a `global`. The clock may be set back, or may be too coarse.
_last = [datetime.min.replace(tzinfo=UTC)]


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def next_upload_date() -> datetime:
    """Return the time, later than all that were returned before. So the revisions of a name have an order."""
    _last[0] = max(now(), _last[0] + _STEP)
    return _last[0]


def utc_text(time: datetime) -> str:
    """Return the text of a time. One without a zone is in UTC, as in GridFS."""
    in_utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return f"{in_utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def parse_utc(text: str) -> datetime:
    """Return the time of a text."""
    return datetime.fromisoformat(text)
