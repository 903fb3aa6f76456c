"""A large document, read without a value of the whole of it: its text and its term are made piece by piece.

Arrays and objects by the million would hold up everybody: Python's collector looks at all of them again and again, and
they are freed at once. Here there are never more of them than a piece of the text has.
"""

from collections import Counter, defaultdict
from typing import Any, Final, NamedTuple

from couchmodel._embedded.json.incremental import LongText, Values, cut
from couchmodel._embedded.json.numbers import spelled
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
"""Sets that the names of an object are in: one of all of them would take long to grow, and to free."""

_Names = Counter[tuple[int, str]]
"""How often names come, each with the number of its object."""


MOST_SPECIAL: Final = 100_000
"""Values in the special members of a document, of which objects are made all at once."""

LONGEST_TEXT: Final = 4 * 1024 * 1024
"""Characters of a string that are put together, as all but the contents of attachments have to be."""


class TooLargeError(Exception):
    """The document's text is longer than it may be. ``special`` are the special members that came before that."""

    def __init__(self, special: dict[str, Any]) -> None:
        super().__init__("the document is too large")
        self.special = special


class LargeDocument(NamedTuple):
    """The special members of a document, and the rest of it as text and as term."""

    special: dict[str, Any]
    text: bytes
    term: Term


def read_large(text: bytes, kept: frozenset[str], largest: int) -> LargeDocument:
    """A JSON text of an object as a document. Of the special members, those that are ``kept`` count as its content.

    Raises ValueError for what is no JSON, DocumentError for a number that is too large, TooLargeError, and TooManyError
    where there is too much in special members.
    """
    document = _Document(kept, largest, Counter())
    cut(text, document)
    if document.body.again:
        document = _Document(kept, largest, document.body.again)
        cut(text, document)
    return LargeDocument(document.special.value, b"".join(document.body.text), Term(document.body.term))


class _Special(Values):
    """The sink for special members: contents of attachments may be in them, of any length."""

    def _text(self, parts: list[str]) -> object:
        return LongText(parts) if sum(map(len, parts)) > LONGEST_TEXT else super()._text(parts)


class _Document:
    """The sink that takes special members for themselves, and all others for the body."""

    def __init__(self, kept: frozenset[str], largest: int, again: _Names) -> None:
        self.body = _Body(again)
        self.special = _Special(MOST_SPECIAL)
        self._sink: Values | _Body = self.body
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


class _Body:
    """The sink that makes text and term of a body.

    A name that comes again in a later piece is noted in ``again``. Who reads the text a second time, and tells what
    came again, gets what the last of each says.
    """

    def __init__(self, again: _Names) -> None:
        self.text: list[bytes] = []
        self.term: list[bytes] = []
        self.size = 0
        self.again: _Names = Counter()
        self._expected = again
        self._frames: list[_Frame] = []
        self._objects = 0
        self._passed_over = 0

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        self._objects += 1
        if self._passed_over or (name is not None and self._comes_again(name)):
            self._passed_over += 1
            return
        if self._frames:
            self._begin(name)
        self._frames.append(_Frame(sign, len(self.term), self._objects))
        self.term.append(b"")
        self._write(sign)

    def take(self, run: Any) -> None:
        if self._passed_over:
            return
        frame = self._frames[-1]
        if isinstance(run, dict):
            run = {name: value for name, value in run.items() if not self._comes_again(name)}
        if not run:
            return
        text, term = spelled(run)[1:-1], encode_contents(run)
        if frame.count and frame.sign != b'"':
            self._write(b",")
        self._write(text)
        self.term.append(term)
        if isinstance(run, list):
            _keep_characters(frame, run)
        frame.count += len(term) if isinstance(run, str) else len(run)

    def leave(self, place: int) -> None:
        if self._passed_over:
            self._passed_over -= 1
            return
        frame = self._frames.pop()
        self._write(_CLOSING[frame.sign])
        if frame.characters:
            self.term[frame.place :] = [string_term(bytes(frame.characters))]
        else:
            self.term[frame.place] = header(frame.sign, frame.count)
            self.term.append(b"" if frame.sign == b'"' else NIL)
        while frame.names:  # one after the other, for others wait while they are freed
            frame.names.popitem()

    def _begin(self, name: str | None) -> None:
        """Write what comes before an item or a member."""
        frame = self._frames[-1]
        if frame.count:
            self._write(b",")
        frame.count += 1
        frame.characters = None
        if name is not None:
            self._write(spelled(name) + b":")
            self.term.append(key_term(name))

    def _comes_again(self, name: str) -> bool:
        """Whether this member of the object that was entered last is not the last one of its name."""
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


def _keep_characters(frame: _Frame, run: list[Any]) -> None:
    """Keep in mind what an array would be as a string, as long as it may be one."""
    if frame.characters is None:
        return
    characters = string_bytes(run)
    if characters is None or len(frame.characters) + len(characters) > LONGEST_STRING:
        frame.characters = None
    else:
        frame.characters += characters
