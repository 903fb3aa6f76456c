"""Cut large JSON texts into pieces and parse them one by one, so that other threads can run in between.

Rule 1: a large text is not parsed in one step. A JSON parser in C or Rust holds Python's lock from the beginning of a
text to its end, and an event loop in another thread stands still meanwhile. So a large text is cut between the members
and items of its large values, at any depth, and parsed piece by piece. The pieces go to a :class:`Sink`. A sink that
makes no value of the whole also saves Python's garbage collector from visiting millions of objects.

Rule 2: the regular expressions only find the places to cut. Every piece is checked by the parser that small texts go
through.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, cast

from couchmodel._embedded import limits
from couchmodel._embedded.json.decode import decode_small
from couchmodel._wire.messages import decode

__all__ = ["Sink", "first_character", "is_large", "parse_into"]

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


def first_character(text: bytes) -> bytes:
    """Return the first character of a JSON text after white space. It tells the type: ``{`` begins an object."""
    place = _after_space(text, 0)
    return text[place : place + 1]


def parse_into(text: bytes, sink: Sink) -> None:
    """Parse a JSON text piece by piece into a sink. Raises ValueError if it is not JSON or not UTF-8."""
    _Cutter(text, sink).cut()


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
