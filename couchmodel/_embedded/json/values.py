"""Make Python values of large JSON texts, with all members or some, and free them again in steps."""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.json.cutter import Sink, first_character, is_large, parse_into
from couchmodel._embedded.json.decode import decode_small
from couchmodel._wire.messages import decode
from couchmodel.errors import ContentTooLargeError

__all__ = ["Limit", "LongText", "Skipped", "Value", "decode_large", "decode_stored", "free", "stored_value"]


class LongText(NamedTuple):
    """A string that is too long to be joined, as its parts."""

    parts: Sequence[str]


class Limit:
    """A limit of the number of values in a text. ``what`` and ``code`` are for the error."""

    def __init__(self, most: int, what: str = "a body", code: str = "too_large") -> None:
        self._most = most
        self._what = what
        self._code = code
        self._count = 0

    def count(self, run: Any) -> None:
        """Count the values of a run. Raises ContentTooLargeError as soon as there are too many."""
        self._count += _count_values(run)
        if self._count > self._most:
            raise ContentTooLargeError(f"{self._what} may have {self._most} values at most", code=self._code)


def decode_large(text: bytes, limit: Limit | None = None, names: Collection[str] | None = None) -> Any:
    """Parse a JSON text piece by piece. Of an object, only the members ``names`` are kept; all if it is None.

    Raises ValueError if it is not JSON or not UTF-8, and ContentTooLargeError if it has more values than the limit.
    """
    sign = first_character(text)
    if sign not in (b"{", b"[", b'"'):  # a number or a literal
        return decode_small(text)
    sink = Value(sign, limit, names=names)
    parse_into(text, sink)
    return sink.value


def decode_stored(text: bytes, names: Collection[str] | None) -> dict[str, Any]:
    """Parse a stored document. Of a large one, only the members ``names`` are kept; all if it is None."""
    document: dict[str, Any] = decode_large(text, names=names) if is_large(text) else decode(text)
    return document


@contextmanager
def stored_value(text: bytes, names: Collection[str] | None) -> Generator[dict[str, Any], None, None]:
    """Parse a stored document as :func:`decode_stored` does, and free it at the end if it is large."""
    document = decode_stored(text, names)
    try:
        yield document
    finally:
        if len(text) > limits.LARGE_JSON:
            free(document)


def free(value: Any) -> None:
    """Empty all arrays and objects in a value, in steps: other threads wait while many are freed in one step."""
    if isinstance(value, dict):
        while value:
            free(value.popitem()[1])
    elif isinstance(value, list):
        while value:
            free(value.pop())


class Value:
    """The sink that builds an object, an array or a string, which is ``value`` in the end."""

    def __init__(
        self,
        sign: bytes,
        limit: Limit | None = None,
        *,
        names: Collection[str] | None = None,
        put: Callable[[Any], None] | None = None,
    ) -> None:
        """``sign`` is the first character, and ``put`` takes the value at the end.

        ``names`` are the members to keep, None for all.
        """
        self.value: Any = {} if sign == b"{" else []
        self._is_string = sign == b'"'
        self._limit = limit
        self._names = names
        self._put = put

    def take(self, run: Any) -> None:
        """Add a run."""
        if self._names is not None:
            run = {name: value for name, value in run.items() if name in self._names}
        if self._limit is not None and not self._is_string:
            self._limit.count(run)
        self._add(run)

    def enter(self, name: str | None, sign: bytes, place: int) -> Sink:
        """Return the sink of a member or an item."""
        if self._names is not None and name not in self._names:
            return Skipped()
        return Value(sign, self._limit, put=partial(self._put_inner, name))

    def close(self, place: int) -> None:
        """Complete the value, and give it to the one that it is a part of."""
        if self._is_string:
            is_long = sum(map(len, self.value)) > limits.JOINED_CHARACTERS
            self.value = LongText(self.value) if is_long else "".join(self.value)
        if self._put is not None:
            self._put(self.value)

    def _put_inner(self, name: str | None, value: Any) -> None:
        self._add([value] if name is None else {name: value})

    def _add(self, run: Any) -> None:
        if isinstance(run, dict):
            # The last member of a name counts, at its own place.
            if not self.value.keys().isdisjoint(run):
                for name in run:
                    self.value.pop(name, None)
            self.value.update(run)
        elif self._is_string:
            self.value.append(run)
        else:
            self.value.extend(run)


class Skipped:
    """The sink of a value that is not needed."""

    def __init__(self, ended: Callable[[int], None] | None = None) -> None:
        """``ended`` is called with the place after the value."""
        self._ended = ended

    def take(self, run: Any) -> None:
        """Drop a run."""

    def enter(self, name: str | None, sign: bytes, place: int) -> Sink:
        """Return a sink that drops a member or an item."""
        return Skipped()

    def close(self, place: int) -> None:
        """Report the place after the value."""
        if self._ended is not None:
            self._ended(place)


def _count_values(run: Any) -> int:
    if isinstance(run, dict):
        return len(run) + sum(map(_count_values, run.values()))
    return len(run) + sum(map(_count_values, run)) if isinstance(run, list) else 0
