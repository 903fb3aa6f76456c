"""Read a large document piece by piece, without making a Python value of the whole.

The result is the body's normalized JSON text and its Erlang term (for the revision id). Millions of arrays and objects
would stop all other threads: Python's garbage collector visits them again and again, and they are freed in one step.
Here the objects of only one piece of the text exist at a time.
"""

from collections import Counter, defaultdict
from typing import Any, Final, NamedTuple

from couchmodel._embedded.json.incremental import LongText, Values, parse_into
from couchmodel._embedded.json.numbers import encode_value
from couchmodel._embedded.rules.revision_ids import (
    LONGEST_STRING,
    NIL,
    Term,
    encode_contents,
    header,
    key_term,
    string_bytes,
    string_term,
)

__all__ = ["LargeDocument", "TooLargeError", "read_large"]

_SHARDS: Final = 64
"""The number of sets that hold the names of an object. A single large set would take long to grow and to free."""

_Names = Counter[tuple[int, str]]
"""The number of repetitions of a name in an object. The key is the number of the object and the name."""


MOST_SPECIAL: Final = 100_000
"""The largest number of values in the special members of a document, which become Python objects all at once."""

LONGEST_TEXT: Final = 4 * 1024 * 1024
"""The largest number of characters of a string that is joined. Only contents of attachments can be longer."""


class TooLargeError(Exception):
    """The document's text is above the limit. ``special`` has the special members that were read until then."""

    def __init__(self, special: dict[str, Any]) -> None:
        super().__init__("the document is too large")
        self.special = special


class LargeDocument(NamedTuple):
    """The special members of a document, and the rest of it as JSON text and as Erlang term."""

    special: dict[str, Any]
    text: bytes
    term: Term


def read_large(text: bytes, kept: frozenset[str], largest: int) -> LargeDocument:
    """Read the JSON text of a document. The special members that are in ``kept`` remain in its body.

    Raises:
        ValueError: if it is not JSON.
        DocumentError: if a number is too large.
        TooLargeError: if the body has more than ``largest`` bytes.
        TooManyError: if the special members have more than ``MOST_SPECIAL`` values.
    """
    document = _DocumentSink(kept, largest, Counter())
    parse_into(text, document)
    if document.body.again:
        document = _DocumentSink(kept, largest, document.body.again)
        parse_into(text, document)
    return LargeDocument(document.special.value, b"".join(document.body.text), Term(document.body.term))


class _SpecialSink(Values):
    """The sink for special members. They can have contents of attachments, strings of any length."""

    def _text(self, parts: list[str]) -> object:
        return LongText(parts) if sum(map(len, parts)) > LONGEST_TEXT else super()._text(parts)


class _DocumentSink:
    """The sink that separates the special members from the body."""

    def __init__(self, kept: frozenset[str], largest: int, again: _Names) -> None:
        self.body = _BodySink(again)
        self.special = _SpecialSink(MOST_SPECIAL)
        self._sink: Values | _BodySink = self.body
        self._kept = kept
        self._largest = largest
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
        if self.body.size > self._largest:
            self.special.leave(0)
            raise TooLargeError(self.special.value)

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
    """An object, an array or a string that has been entered."""

    __slots__ = ("characters", "count", "names", "number", "place", "sign")

    def __init__(self, sign: bytes, place: int, number: int) -> None:
        self.sign = sign
        self.place = place
        self.number = number
        self.count = 0
        self.names: defaultdict[int, set[str]] = defaultdict(set)
        self.characters: bytearray | None = bytearray() if sign == b"[" else None


class _BodySink:
    """The sink that makes text and term of a body.

    Of members with the same name, the last one counts, as in CouchDB. A repetition in a later piece is only noted in
    ``again``, because the earlier member is already written. The text is then read a second time with these counts, and
    all but the last member of each name are skipped.
    """

    def __init__(self, again: _Names) -> None:
        self.text: list[bytes] = []
        self.term: list[bytes] = []
        self.size = 0
        self.again: _Names = Counter()
        self._expected = again
        self._frames: list[_Frame] = []
        self._objects = 0
        self._skipped_depth = 0

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        self._objects += 1
        if self._skipped_depth or (name is not None and self._is_repeated_later(name)):
            self._skipped_depth += 1
            return
        if self._frames:
            self._write_prefix(name)
        self._frames.append(_Frame(sign, len(self.term), self._objects))
        self.term.append(b"")
        self._write(sign)

    def take(self, run: Any) -> None:
        if self._skipped_depth:
            return
        frame = self._frames[-1]
        if isinstance(run, dict):
            run = {name: value for name, value in run.items() if not self._is_repeated_later(name)}
        if not run:
            return
        text, term = encode_value(run)[1:-1], encode_contents(run)
        if frame.count and frame.sign != b'"':
            self._write(b",")
        self._write(text)
        self.term.append(term)
        if isinstance(run, list):
            _collect_characters(frame, run)
        frame.count += len(term) if isinstance(run, str) else len(run)

    def leave(self, place: int) -> None:
        if self._skipped_depth:
            self._skipped_depth -= 1
            return
        frame = self._frames.pop()
        self._write(_CLOSING[frame.sign])
        if frame.characters:
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
            self._write(encode_value(name) + b":")
            self.term.append(key_term(name))

    def _is_repeated_later(self, name: str) -> bool:
        """Note a name of the innermost object. Return True if a later member of the object is known to repeat it."""
        frame = self._frames[-1]
        names = frame.names[hash(name) % _SHARDS]
        if name not in names:
            names.add(name)
        else:
            self.again[frame.number, name] += 1
        if (frame.number, name) not in self._expected:
            return False
        self._expected[frame.number, name] -= 1
        return self._expected[frame.number, name] >= 0

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
