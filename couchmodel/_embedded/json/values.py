"""Make Python values of large JSON texts, with all members or some, and free them again in steps."""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from couchmodel._embedded.json.cutter import first_character, is_large, parse_into
from couchmodel._embedded.json.decode import decode_small
from couchmodel._wire.messages import decode
from couchmodel.errors import ContentTooLargeError

__all__ = ["LongText", "Values", "decode_large", "decode_stored", "free"]


def decode_large(text: bytes, most: float = math.inf, what: str = "a body", code: str = "too_large") -> Any:
    """Parse a JSON text piece by piece.

    Raises ValueError if it is not JSON or not UTF-8, and ContentTooLargeError, with the other arguments in its message,
    if it has more than ``most`` values.
    """
    if first_character(text) not in (b"{", b"[", b'"'):  # a number or a literal
        return decode_small(text)
    values = Values(most, what, code)
    parse_into(text, values)
    return values.value


def decode_stored(text: bytes, names: Collection[str] | None) -> dict[str, Any]:
    """Parse a stored document. Of a large one, only the members ``names`` are kept; all if it is None."""
    if not is_large(text):
        document: dict[str, Any] = decode(text)
        return document
    values = Values(names=names)
    parse_into(text, values)
    whole: dict[str, Any] = values.value
    return whole


def free(value: Any) -> None:
    """Empty all arrays and objects in a value, in steps: other threads wait while many are freed in one step."""
    if isinstance(value, dict):
        while value:
            free(value.popitem()[1])
    elif isinstance(value, list):
        while value:
            free(value.pop())


class LongText(NamedTuple):
    """A string that is too long to be joined, as its parts."""

    parts: Sequence[str]


class Values:
    """The sink that builds a Python value."""

    def __init__(
        self,
        most: float = math.inf,
        what: str = "a body",
        code: str = "too_large",
        *,
        names: Collection[str] | None = None,
    ) -> None:
        """``names`` are the members of the outermost object to keep, None for all.

        ContentTooLargeError is raised as soon as there are more than ``most`` values. ``what`` and ``code`` are for it.
        """
        self.value: Any = None
        self._most = most
        self._what = what
        self._code = code
        self._names = names
        self._count = 0
        self._entered: list[tuple[str | None, bytes, Any]] = []
        self._skipped_depth = 0

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        """Begin a value."""
        if self._skipped_depth or (self._selects_members and name not in (self._names or ())):
            self._skipped_depth += 1
        else:
            self._entered.append((name, sign, {} if sign == b"{" else []))

    def take(self, run: Any) -> None:
        """Add a run to the value that was entered last."""
        if self._skipped_depth:
            return
        if self._selects_members:
            run = {name: value for name, value in run.items() if name in (self._names or ())}
        if self._most < math.inf and not isinstance(run, str):
            self._count += _count_values(run)
            if self._count > self._most:
                raise ContentTooLargeError(f"{self._what} may have {self._most} values at most", code=self._code)
        self._put(run)

    def leave(self, place: int) -> None:
        """End the value that was entered last."""
        if self._skipped_depth:
            self._skipped_depth -= 1
            return
        name, sign, value = self._entered.pop()
        self.value = self._text(value) if sign == b'"' else value
        if self._entered:
            self._put([self.value] if name is None else {name: self.value})

    @property
    def _selects_members(self) -> bool:
        return self._names is not None and len(self._entered) == 1

    def _text(self, parts: list[str]) -> object:
        return "".join(parts)

    def _put(self, run: Any) -> None:
        _, sign, value = self._entered[-1]
        if sign == b"{":
            _put_last(value, run)
        elif sign == b"[":
            value.extend(run)
        else:
            value.append(run)


def _count_values(run: Any) -> int:
    if isinstance(run, dict):
        return len(run) + sum(map(_count_values, run.values()))
    return len(run) + sum(map(_count_values, run)) if isinstance(run, list) else 0


def _put_last(members: dict[str, Any], more: dict[str, Any]) -> None:
    """Add members. One with a name that exists already replaces that member, and goes to the end."""
    if not members.keys().isdisjoint(more):
        for name in more:
            members.pop(name, None)
    members.update(more)
