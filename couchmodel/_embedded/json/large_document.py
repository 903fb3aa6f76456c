"""Read a large document piece by piece, without making a Python value of the whole.

The result is the body's normalized JSON text and its Erlang term (for the revision id). Millions of arrays and objects
would stop all other threads: Python's garbage collector visits them again and again, and they are freed in one step.
Here the objects of only one piece of the text exist at a time.
"""

from collections import defaultdict
from typing import Any, Final, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.json.cutter import parse_into
from couchmodel._embedded.json.values import LongText, Values
from couchmodel._embedded.json.writer import encode_value
from couchmodel._embedded.rules.erlang_binary import (
    LONGEST_STRING,
    NIL,
    Term,
    encode_contents,
    header,
    key_term,
    string_bytes,
    string_term,
)
from couchmodel.errors import ContentTooLargeError

__all__ = ["LargeDocument", "RepeatedNameError", "read_large"]


class RepeatedNameError(Exception):
    """An object has two members of the same name, and the earlier one is already written."""


class LargeDocument(NamedTuple):
    """The special members of a document, and the rest of it as JSON text and as Erlang term."""

    special: dict[str, Any]
    text: bytes
    term: Term


def read_large(text: bytes, kept: frozenset[str]) -> LargeDocument:
    """Read the JSON text of a document. The special members that are in ``kept`` remain in its body.

    Raises:
        ValueError: if it is not JSON.
        DocumentError: if a number is too large.
        ContentTooLargeError: if it is larger than a document may be, or its special members have too many values.
        RepeatedNameError: if an object has a name twice. The last member would count, at its own place.
    """
    document = _DocumentSink(kept)
    parse_into(text, document)
    return LargeDocument(document.special.value, b"".join(document.body.text), Term(document.body.term))


class _SpecialSink(Values):
    """The sink for special members. They can have contents of attachments, strings of any length."""

    def _text(self, parts: list[str]) -> object:
        return LongText(parts) if sum(map(len, parts)) > limits.JOINED_CHARACTERS else super()._text(parts)


class _DocumentSink:
    """The sink that separates the special members from the body."""

    def __init__(self, kept: frozenset[str]) -> None:
        self.body = _BodySink()
        self.special = _SpecialSink(limits.SPECIAL_VALUES, "special members", "document_too_large")
        self._sink: Values | _BodySink = self.body
        self._kept = kept
        self._depth = 0

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        if self._depth == 0:
            self.special.enter(None, sign, place)
        elif self._depth == 1:
            self._sink = self.special if self._is_special(name or "") else self.body
        self._depth += 1
        self._sink.enter(name, sign, place)

    def take(self, run: Any) -> None:
        if self._depth > 1:
            self._sink.take(run)
        else:
            self._take_members(run)
        self._check_size()

    def leave(self, place: int) -> None:
        self._sink.leave(place)
        self._check_size()
        self._depth -= 1
        if self._depth == 0:
            self.special.leave(place)
        elif self._depth == 1:
            self._sink = self.body

    def _check_size(self) -> None:
        if self.body.size > limits.DOCUMENT_BYTES:
            self.special.leave(0)
            raise ContentTooLargeError(str(self.special.value.get("_id", "")), code="document_too_large")

    def _take_members(self, run: dict[str, Any]) -> None:
        special = {name: value for name, value in run.items() if self._is_special(name)}
        if special:
            self.special.take(special)
            run = {name: value for name, value in run.items() if name not in special}
        if run:
            self.body.take(run)

    def _is_special(self, name: str) -> bool:
        return name[:1] == "_" and name not in self._kept


class _Frame:
    """An object, an array or a string that has begun and has not ended.

    ``sign`` is the byte that opened it, ``place`` where it begins in the output. ``count`` counts its members, and
    ``characters`` gathers a list of small numbers, which Erlang writes as a string; None if it is none.
    """

    __slots__ = ("characters", "count", "names", "place", "sign")

    def __init__(self, sign: bytes, place: int) -> None:
        self.sign = sign
        self.place = place
        self.count = 0
        self.names: defaultdict[int, set[str]] = defaultdict(set)
        self.characters: bytearray | None = bytearray() if sign == b"[" else None


class _BodySink:
    """The sink that makes text and term of a body."""

    def __init__(self) -> None:
        self.text: list[bytes] = []
        self.term: list[bytes] = []
        self.size = 0
        self._frames: list[_Frame] = []

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        if self._frames:
            self._write_prefix(name)
        self._frames.append(_Frame(sign, len(self.term)))
        self.term.append(b"")
        self._write(sign)

    def take(self, run: Any) -> None:
        frame = self._frames[-1]
        if isinstance(run, dict):
            for name in run:
                self._note_name(name)
        text, term = encode_value(run)[1:-1], encode_contents(run)
        if frame.count and frame.sign != b'"':
            self._write(b",")
        self._write(text)
        self.term.append(term)
        if isinstance(run, list):
            _collect_characters(frame, run)
        frame.count += len(term) if isinstance(run, str) else len(run)

    def leave(self, place: int) -> None:
        frame = self._frames.pop()
        self._write(_CLOSING[frame.sign])
        if frame.characters:
            # The array was a string after all: it replaces the items that were written.
            self.term[frame.place :] = [string_term(bytes(frame.characters))]
        else:
            self.term[frame.place] = header(frame.sign, frame.count)
            self.term.append(b"" if frame.sign == b'"' else NIL)
        while frame.names:  # one by one, because other threads wait while a set is freed
            frame.names.popitem()

    def _write_prefix(self, name: str | None) -> None:
        """Write the comma and the name before an item or a member."""
        frame = self._frames[-1]
        if frame.count:
            self._write(b",")
        frame.count += 1
        frame.characters = None
        if name is not None:
            self._note_name(name)
            self._write(encode_value(name) + b":")
            self.term.append(key_term(name))

    def _note_name(self, name: str) -> None:
        # Several small sets: one of hundreds of thousands of names would be freed in one step.
        names = self._frames[-1].names[hash(name) % limits.NAME_SETS]
        if name in names:
            raise RepeatedNameError
        names.add(name)

    def _write(self, text: bytes) -> None:
        self.text.append(text)
        self.size += len(text)


_CLOSING: Final = {b"{": b"}", b"[": b"]", b'"': b'"'}


def _collect_characters(frame: _Frame, run: list[Any]) -> None:
    """Collect the bytes of an array for as long as it can be an Erlang string."""
    if frame.characters is None:
        return
    characters = string_bytes(run)
    if characters is None or len(frame.characters) + len(characters) > LONGEST_STRING:
        frame.characters = None
    else:
        frame.characters += characters
