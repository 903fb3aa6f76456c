"""Parse JSON texts as CouchDB does, large ones in pieces so that other threads can run in between.

Rule 1: if an object has a name twice, the last value counts, at its own place. The parser puts it at the place of the
first one, which would lead to another revision id. It does not report duplicates, but the text has more quotation marks
than the value when it is encoded again.

Rule 2: a large text is not parsed in one step. A JSON parser in C or Rust holds Python's lock from the beginning of a
text to its end, and an event loop in another thread stands still meanwhile. So a large text is cut between the members
and items of its large values, at any depth, and parsed piece by piece. The pieces go to a :class:`Sink`. A sink that
makes no value of the whole also saves Python's garbage collector from visiting millions of objects.

Rule 3: the regular expressions only find the places to cut. Every piece is checked by the parser that small texts go
through.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._wire.messages import decode
from couchmodel.errors import ContentTooLargeError

__all__ = [
    "LongText",
    "Sink",
    "Values",
    "decode_large",
    "decode_small",
    "decode_stored",
    "first_character",
    "free",
    "is_large",
    "parse_into",
]

_OPENING: Final = (b"[", b"{")
_CLOSING: Final = (b"]", b"}")
_SPACE: Final = b" \t\r\n"

_Match = Callable[[bytes, int, int], re.Match[bytes]]


def _matcher(pattern: bytes) -> _Match:
    """Return a function that matches a pattern at a place. The pattern has to match always, at least the empty text."""
    return cast(_Match, re.compile(pattern, re.DOTALL | re.VERBOSE).match)


def _pattern_between(apart: bytes, depth: int) -> bytes:
    """Return a pattern of the text between two signs.

    It has none of the bytes ``apart`` outside of strings, and only arrays and objects that are at most ``depth`` deep.
    """
    rest = rb'[^][{}"%b]++ | "(?: [^"\\]++ | \\. )*+"' % apart
    if depth:
        inner = _pattern_between(b"", depth - 1)
        rest += rb" | \[ %b \] | \{ %b \}" % (inner, inner)
    return b"(?: %b )*+" % rest


_SHALLOW: Final = 4
"""The depth up to which nested values are skipped by one match, enough for most documents.

Deeper ones are passed bracket by bracket.
"""

_match_sign: Final = _matcher(rb"%b ([][{},])?" % _pattern_between(b",", _SHALLOW))
_match_bracket: Final = _matcher(rb"%b ([][{}])?" % _pattern_between(b"", _SHALLOW))

_match_first_name: Final = re.compile(rb'\{"(?:[^"\\]|\\.)*"').match

_match_space: Final = _matcher(rb"[ \t\r\n]*+")

# The part of a string up to the end of a character. A character beyond U+FFFF can be a pair of escapes, which must not
# be cut apart.
_match_characters: Final = _matcher(
    rb"""(?: [^"\\]++ | \\[^u] | \\u(?![dD][89abAB])[0-9a-fA-F]{4} | \\u[dD][89abAB]..\\u.... )*+"""
)


class Sink(Protocol):
    """A receiver of the parts of a large value.

    Large objects, arrays and strings are entered and left. In between come runs of their contents: a dict of members, a
    list of items, or a part of a string.
    """

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        """Begin a value with its first character, its place in the text, and its name if it is a member."""

    def take(self, run: Any) -> None:
        """Take a run of the value that was entered last."""

    def leave(self, place: int) -> None:
        """End the value that was entered last. ``place`` is the place after it."""


def is_large(text: bytes) -> bool:
    """Return True if parsing a text in one step would stop other threads for too long."""
    if len(text) <= limits.LARGE_JSON:
        return False
    return len(text) > 4 * limits.LARGE_JSON or text.count(b"[") + text.count(b"{") > limits.JSON_CONTAINERS


def decode_small(text: bytes) -> Any:
    """Parse a JSON text in one step. Raises ValueError if it is not JSON or not UTF-8."""
    value = decode(text)
    # An escape \u0022 becomes a quotation mark in the value, so it would hide a duplicate from the comparison.
    if text.count(b'"') != to_json(value).count(b'"') or b"\\u0022" in text:
        # Slow, and rare: Python's parser is the one that shows repeated names.
        value = json.loads(text.decode(), object_pairs_hook=_keep_last)
    # CouchDB's parser reads the smallest float, 5e-324, as 0, and a number is part of the revision id.
    return _replace_smallest(value) if b"-324" in text else value


def decode_large(text: bytes, most: float = math.inf, what: str = "a body", code: str = "too_large") -> Any:
    """Parse a JSON text piece by piece.

    Raises ValueError if it is not JSON or not UTF-8, and ContentTooLargeError, with the other arguments in its message,
    if it has more than ``most`` values.
    """
    if first_character(text) not in (*_OPENING, b'"'):
        return decode_small(text)
    values = Values(most, what, code)
    parse_into(text, values)
    return values.value


def decode_stored(text: bytes, names: Collection[str] | None) -> dict[str, Any]:
    """Parse a stored document. A large document has only the members ``names`` in the end, all if it is None."""
    if not is_large(text):
        document: dict[str, Any] = decode(text)
        return document
    values = Values(names=names)
    parse_into(text, values)
    whole: dict[str, Any] = values.value
    return whole


def first_character(text: bytes) -> bytes:
    """Return the first character of a JSON text after white space. It tells the type: ``{`` begins an object."""
    place = _after_space(text, 0)
    return text[place : place + 1]


def parse_into(text: bytes, sink: Sink) -> None:
    """Parse a JSON text piece by piece into a sink. Raises ValueError if it is not JSON or not UTF-8."""
    _Cutter(text, sink).cut()


def free(value: Any) -> None:
    """Empty all arrays and objects in a value, in steps: other threads wait while many are freed in one step."""
    if isinstance(value, dict):
        while value:
            free(value.popitem()[1])
    elif isinstance(value, list):
        while value:
            free(value.pop())


# A dictionary keeps the place of a name's first value. So the name is removed first, and the last value comes at its
# own place: rule 1.
def _keep_last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, member in pairs:
        members.pop(name, None)
        members[name] = member
    return members


def _replace_smallest(value: Any) -> Any:
    match value:
        case dict():
            return {name: _replace_smallest(member) for name, member in value.items()}
        case list():
            return [_replace_smallest(item) for item in value]
        case float() if abs(value) == 5e-324:
            return 0.0
    return value


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
        """``names`` are the members of the outermost object that are wanted: all if it is None.

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


class _Cutter:
    """The loop that cuts a text into pieces and gives them to a sink."""

    def __init__(self, text: bytes, sink: Sink) -> None:
        self._text = text
        self._sink = sink
        self._entered: list[bytes] = []
        self._open: list[int] = []
        """The places of arrays and objects that have begun, but are not known to be large, so they are not entered."""
        self._start = 0
        """The end of the text that the sink has received."""
        self._continues = False
        """True if the sink has received some of the value entered last, so that a comma or the end has to follow."""
        self._joint = b""
        """The text between two objects of the array entered last, with the name that each of them begins with.

        It is empty if the array has no such text, or has it elsewhere, too.
        """

    def cut(self) -> None:
        place = _after_space(self._text, 0)
        if self._text[place : place + 1] == b'"':
            place = self._take_string(place)
        else:
            self._enter(place)
            place = self._take_members(place + 1)
        if _after_space(self._text, place) != len(self._text):
            raise ValueError("trailing characters")

    def _take_members(self, place: int) -> int:
        """Read the contents of the entered values to the end. Return the place after them."""
        while self._entered:
            if self._leap():
                place = self._start
                continue
            is_full = place - self._start > limits.JSON_PIECE
            find = (
                _match_sign if is_full and not self._open else _match_bracket
            )  # commas are frequent, so a search for them is slow
            found = find(self._text, place, place + limits.JSON_PIECE)
            came_from, place = place, found.end()
            sign = found[1]
            if sign in _OPENING:
                self._open.append(place - 1)
            elif sign in _CLOSING:
                self._close(place - 1, sign)
            elif sign:
                self._hand_over(place - 1, sign)
            else:
                place = self._pass(place, stuck=place == came_from)
            if self._open and place - self._start > 2 * limits.JSON_PIECE:
                self._enter_open()
        return place

    def _leap(self) -> bool:
        """Hand over a piece of an array that ends at a joint of two objects. Return False if there is none.

        A search for the joint is far faster than a match of all brackets and strings. The parser refuses a piece that
        ends inside a string or a nested value, since it is incomplete. Then there are no more leaps in this array.
        """
        if not self._joint or self._open:
            return False
        least = self._start + limits.JSON_PIECE
        end = self._text.find(self._joint, least, least + limits.JSON_PIECE) + 1
        if not end:
            return False
        try:
            run = self._parse(self._piece(end, b","))
        except ValueError:
            self._joint = b""
            return False
        self._sink.take(run)
        self._advance(end)
        return True

    def _pass(self, place: int, stuck: bool) -> int:
        """Return the place to continue at if a piece has no sign. It is stuck at a string longer than a piece."""
        if place == len(self._text):
            raise ValueError("EOF while parsing a value")
        return self._pass_string(place) if stuck else place

    def _pass_string(self, place: int) -> int:
        """Read a string that is longer than a piece. Return the place after it."""
        end = _end_of_string(self._text, place)
        after = _after_space(self._text, end)
        if self._text[after : after + 1] == b":":  # a name is not cut
            return end
        self._enter_open()
        return self._take_string(place)

    def _take_string(self, place: int) -> int:
        name = self._hand_over(place, b'"') if self._entered else None
        self._sink.enter(name, b'"', place)
        end = place + 1
        for start, end in _pieces_of_string(self._text, place):
            self._sink.take(decode(b'"%b"' % self._text[start:end]))
        self._sink.leave(end + 1)
        self._advance(end + 1)
        return end + 1

    def _enter_open(self) -> None:
        opened, self._open = self._open, []
        for place in opened:
            self._enter(place)

    def _enter(self, place: int) -> None:
        sign = self._text[place : place + 1]
        name = self._hand_over(place, sign) if self._entered else None
        self._sink.enter(name, sign, place)
        self._entered.append(sign)
        self._start, self._continues = place + 1, False
        first = _match_first_name(self._text, place + 1, place + limits.JSON_PIECE) if sign == b"[" else None
        self._joint = b"}," + first[0] if first else b""

    def _close(self, place: int, sign: bytes) -> None:
        if self._open:
            self._open.pop()
            return
        if self._entered[-1] + sign not in (b"{}", b"[]"):
            raise ValueError("another bracket was expected")
        self._hand_over(place, sign)
        self._entered.pop()
        self._joint = b""
        self._sink.leave(place + 1)
        self._advance(place + 1)

    def _advance(self, place: int) -> None:
        self._start, self._continues = place, True

    def _hand_over(self, end: int, sign: bytes) -> str | None:
        """Give the sink the text before a sign: a comma, a bracket, or a quotation mark.

        Return the name of the value that begins at the sign, if it is a member of an object. To parse the text before
        it, ``null`` takes the place of that value.
        """
        begins = sign == b'"' or sign in _OPENING
        # A member's name stands before the value that begins here, so it is in this piece.
        piece = self._piece(end, sign) + (b"null" if begins else b"")
        name = None
        if piece:
            run = self._parse(piece)
            if begins and isinstance(run, dict):
                name, _ = run.popitem()
            elif begins:
                run.pop()
            if run:
                self._sink.take(run)
        self._advance(end)
        return name

    def _piece(self, end: int, sign: bytes) -> bytes:
        """Return the text to be handed over, without a comma before it. Raises ValueError if a comma is misplaced."""
        piece = self._text[self._start : end].strip(_SPACE)
        if not self._continues:
            if not piece and sign == b",":
                raise ValueError("a value was expected")
        elif piece or sign == b'"' or sign in _OPENING:
            piece, comma = piece[1:], piece[:1]
            if comma != b"," or not (piece or sign == b'"' or sign in _OPENING):
                raise ValueError("a comma or the end was expected")
        return piece

    def _parse(self, piece: bytes) -> Any:
        """Parse the members or items of a piece at their depth in the text, so that its limit is the parser's."""
        depth = len(self._entered) - 1
        whole = b"{%b}" if self._entered[-1] == b"{" else b"[%b]"
        run = decode_small(b"[" * depth + whole % piece + b"]" * depth)
        for _ in range(depth):
            [run] = run
        return run


def _end_of_string(text: bytes, place: int) -> int:
    """Return the place after a string. Raises ValueError if it does not end."""
    ends = [end for _, end in _pieces_of_string(text, place)]
    return ends[-1] + 1 if ends else place + 2


def _pieces_of_string(text: bytes, place: int) -> Iterator[tuple[int, int]]:
    """Yield the begin and end of each piece of a string; the last one ends at the closing quotation mark.

    Raises ValueError if the string does not end.
    """
    start = place + 1
    while text[start : start + 1] != b'"':
        end = _match_characters(text, start, start + limits.JSON_PIECE).end()
        # The bytes of a character after its first are 10xxxxxx in UTF-8.
        while end > start and text[end : end + 1] and text[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        if end == start:
            raise ValueError("EOF while parsing a string")
        yield start, end
        start = end


def _after_space(text: bytes, place: int) -> int:
    """Return the place after white space. It is skipped in pieces, as there can be much of it."""
    end = _match_space(text, place, place + limits.JSON_PIECE).end()
    while end == place + limits.JSON_PIECE:
        place = end
        end = _match_space(text, place, place + limits.JSON_PIECE).end()
    return end
