"""The comparison of a value with the value that was read again from its stored form."""

import dataclasses
import enum
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import BaseModel

from couchmodel._model.schema.links.link import Link

__all__ = ["Difference", "are_same", "find_difference", "is_alike", "share_defaults"]


class Difference(NamedTuple):
    """A place at which two values differ: its path, the value that was written, and the value that was read."""

    path: tuple[str, ...]
    written: Any
    read: Any

    def __str__(self) -> str:
        where = ".".join(self.path) or "the document"
        if isinstance(self.written, float) and not math.isfinite(self.written):
            return f"{where}: JSON has no NaN and no infinity; store None or a string instead"
        one, other = type(self.written).__name__, type(self.read).__name__
        if one == other:
            return f"{where}: {self.written!r} would be read again as {self.read!r}"
        written, read = _short(self.written), _short(self.read)
        return f"{where}: a value of {one}, {written}, would be read again as one of {other}, {read}"


def find_difference(
    written: Any, read: Any, path: tuple[str, ...] = (), *, skipping: Collection[str] = ()
) -> Difference | None:
    """Return the first place at which two values differ, or None if they are the same at any depth.

    ``skipping`` are fields of the model that are left out of the comparison.

    Numbers are the same if they are equal, but a boolean is no number. Collections and models are the same if they are
    of one class and have the same members. Instants are the same in any time zone.
    """
    kind = type(written)
    if type(read) is Link:  # what was assigned to a link may be an id or a document
        same = bool(read == written)
    elif kind in _PLAIN:
        same = type(read) is kind and written == read
    elif isinstance(written, BaseModel):
        return _compare_models(written, read, path, skipping)
    elif isinstance(written, Mapping):
        return _compare_mappings(written, read, path)
    elif isinstance(written, Sequence) and not isinstance(written, (str, bytes, bytearray, memoryview, enum.Enum)):
        return _compare_sequences(written, read, path)
    elif dataclasses.is_dataclass(written):
        return _compare_dataclasses(written, read, path)
    else:
        same = _is_same(written, read)
    return None if same else Difference(path, written, read)


def are_same(one: Any, other: Any) -> bool:
    """Return True if two values are the same at any depth."""
    return is_alike(one, other) or find_difference(one, other) is None


def is_alike(written: Any, read: Any, skipping: Collection[str] = ()) -> bool:
    """Return True if two values are certainly the same. It is much faster than :func:`find_difference`.

    A save compares each value of a document, so this counts. False means that the values have to be looked at closely.
    """
    kind = type(written)
    if type(read) is not kind:
        return False
    if kind in _SIMPLE:
        return bool(written == read)
    if kind is list:
        return len(written) == len(read) and all(map(is_alike, written, read))
    if kind is dict:  # a key of an enumeration of texts is equal to its text
        return {*map(type, written), *map(type, read)} <= {str} and _are_members_alike(written, read, skipping)
    if isinstance(written, BaseModel) and not (written.__pydantic_extra__ or read.__pydantic_extra__):
        return _are_members_alike(vars(written), vars(read), skipping)
    return False


_SIMPLE: Final = frozenset({str, int, float, bool, type(None), bytes, datetime, date, UUID, Link})
"""The types whose values are the same if they are equal. Equal instants of two time zones are the same.

Two instants in the repeated hour of one time zone are equal though they differ. A value that was read is in UTC.
"""


def _are_members_alike(written: dict[Any, Any], read: dict[Any, Any], skipping: Collection[str]) -> bool:
    if len(written) != len(read):
        return False
    for name, value in written.items():
        if name in skipping:
            continue
        if name not in read:
            return False
        other = read[name]
        kind = type(value)
        if kind in _SIMPLE:
            if type(other) is not kind or value != other:
                return False
        elif not is_alike(value, other):
            return False
    return True


_PLAIN: Final = frozenset({str, bool, type(None), bytes})


def _is_same(written: Any, read: Any) -> bool:
    if isinstance(written, bool) or isinstance(read, bool):
        return written is read
    if isinstance(written, (int, float)) and isinstance(read, (int, float)) and not isinstance(written, enum.Enum):
        return written == read
    if type(written) is not type(read):
        return False
    if isinstance(written, datetime) and isinstance(read, datetime) and None not in (written.tzinfo, read.tzinfo):
        # In UTC, since Python takes no repeated hour of a time zone for equal to an instant of another zone (PEP 495).
        return bool(written.astimezone(UTC) == read.astimezone(UTC))
    # Objects without an equality of their own cannot be compared. Their JSON texts were.
    equality: Any = type(written).__eq__
    return equality is object.__eq__ or bool(written == read)


def _compare_models(
    written: BaseModel, read: Any, path: tuple[str, ...], skipping: Collection[str]
) -> Difference | None:
    if type(written) is not type(read):
        return Difference(path, written, read)
    ours, theirs = written.__dict__, read.__dict__
    for name in type(written).__pydantic_fields__:
        if name in skipping:
            continue
        found = find_difference(ours.get(name), theirs.get(name), (*path, name))
        if found is not None:
            return found
    return _compare_mappings(written.__pydantic_extra__ or {}, read.__pydantic_extra__ or {}, path)


def _compare_dataclasses(written: Any, read: Any, path: tuple[str, ...]) -> Difference | None:
    if type(written) is not type(read):
        return Difference(path, written, read)
    for field in dataclasses.fields(written):
        ours, theirs = getattr(written, field.name, None), getattr(read, field.name, None)
        found = find_difference(ours, theirs, (*path, field.name))
        if found is not None:
            return found
    return None


def _compare_mappings(written: Mapping[Any, Any], read: Any, path: tuple[str, ...]) -> Difference | None:
    if not isinstance(read, Mapping) or type(written) is not type(read) or set(written) != set(read):
        return Difference(path, written, read)
    kinds = {key: type(key) for key in read}
    for key, value in written.items():
        if kinds[key] is not type(key):
            return Difference((*path, str(key)), key, next(each for each in read if each == key))
        found = find_difference(value, read[key], (*path, str(key)))
        if found is not None:
            return found
    return None


def _compare_sequences(written: Sequence[Any], read: Any, path: tuple[str, ...]) -> Difference | None:
    if type(written) is not type(read) or len(written) != len(read):
        return Difference(path, written, read)
    for n, (ours, theirs) in enumerate(zip(written, read, strict=True)):
        found = find_difference(ours, theirs, (*path, str(n)))
        if found is not None:
            return found
    return None


def _short(value: object, longest: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


def share_defaults(document: BaseModel, base: BaseModel) -> None:
    """Give ``base`` the values that a document has by default, if they were stored in neither.

    A factory may make another value each time, such as the time or a random number, which is no change of the document.
    """
    ours, theirs = vars(document), vars(base)
    given = document.__pydantic_fields_set__ | base.__pydantic_fields_set__
    for name, info in type(document).__pydantic_fields__.items():
        is_made = info.default_factory is not None and name not in given and name in ours
        if is_made and not isinstance(ours[name], (list, dict, set, BaseModel)):  # these may have changed in place
            theirs[name] = ours[name]
