"""Parse large JSON texts in pieces, so that other threads can run in between.

Rule 1: a large text is not parsed in one step. A JSON parser in C or Rust holds Python's lock from the beginning of a
text to its end, and an event loop in another thread stands still meanwhile. So a large text is cut between the members
and items of its large values, at any depth, and parsed piece by piece. The pieces go to a :class:`Sink`. A sink that
makes no value of the whole also saves Python's garbage collector from visiting millions of objects.

Rule 2: the regular expressions only find the places to cut. Every piece is checked by the parser that small texts go
through.
"""

import re
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from couchmodel._embedded import limits
from couchmodel._embedded.json.decode import decode_small
from couchmodel._wire.messages import decode

__all__ = ["Sink", "first_character", "is_large", "parse_into"]

_CLOSING: Final = {b"{": b"}", b"[": b"]"}

_Match = Callable[[bytes, int, int], re.Match[bytes]]


def _matcher(pattern: bytes) -> _Match:
    """Return a function that matches a pattern at a place. The pattern has to match always, at least the empty text."""
    return cast(_Match, re.compile(pattern, re.DOTALL | re.VERBOSE).match)


def _part_pattern(apart: bytes, depth: int) -> bytes:
    """Return a pattern of a part of a text: a string, an array or object at most ``depth`` deep, or anything else.

    It has none of the bytes ``apart`` outside of strings, arrays and objects. Brackets of both kinds are alike to it.
    """
    part = rb'[^{}\[\]"%b]++ | "(?: [^"\\]++ | \\. )*+"' % apart
    return part + rb" | [{\[] (?: %b )*+ [}\]]" % _part_pattern(b"", depth - 1) if depth else part


_SHALLOW: Final = 10
"""The depth of arrays and objects that are cut out as a whole, enough for most documents. Deeper ones are entered."""

# As many members or items as are complete: each is followed by a comma, or by the end of the object or array.
_match_members: Final = _matcher(rb"(?: (?: %b )++ (?: , | (?= [}\]] ) ) )*+" % _part_pattern(b",", _SHALLOW))

# The text up to the next bracket of an array or object that is deeper.
_match_bracket: Final = _matcher(rb"(?: %b )*+ ([{\[}\]])?" % _part_pattern(b"", _SHALLOW))

_match_scalar: Final = _matcher(rb'[^{}\[\]",]*+')

_match_first_name: Final = re.compile(rb'\{"(?:[^"\\]|\\.)*"').match

_match_space: Final = _matcher(rb"[ \t\r\n]*+")

# The part of a string up to the end of a character. A character beyond U+FFFF can be a pair of escapes, which must not
# be cut apart.
_match_characters: Final = _matcher(
    rb"""(?: [^"\\]++ | \\[^u] | \\u(?![dD][89abAB])[0-9a-fA-F]{4} | \\u[dD][89abAB]..\\u.... )*+"""
)


class Sink(Protocol):
    """A receiver of the contents of a large object, array or string."""

    def take(self, run: Any) -> None:
        """Take the next contents: a dict of members, a list of items, or a part of a string."""

    def enter(self, name: str | None, sign: bytes, place: int) -> "Sink":
        """Return the sink of a member or item that is large.

        ``sign`` is its first character, ``place`` its place in the text, and ``name`` its name if it is a member.
        """
        ...

    def close(self, place: int) -> None:
        """End the value. ``place`` is the place after it."""


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
    """Parse an object, an array or a string piece by piece into a sink.

    Raises ValueError if it is not JSON or not UTF-8.
    """
    end = _read_value(text, _after_space(text, 0), sink, 0, _Brackets(text))
    if _after_space(text, end) != len(text):
        raise ValueError("trailing characters")


def _read_value(text: bytes, place: int, sink: Sink, depth: int, brackets: "_Brackets") -> int:
    """Read the object, array or string at a place into a sink. Return the place after it.

    ``depth`` is the number of arrays and objects around it.
    """
    is_string = text[place : place + 1] == b'"'
    end = _read_string(text, place, sink.take) if is_string else _Contents(text, place, depth, brackets).read(sink)
    sink.close(end)
    return end


class _Brackets:
    """The brackets of a text. They tell where a value ends that is too deep for the patterns."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._open: frozenset[int] = frozenset()
        self._open_up_to = 0
        """The place at which all values are still open that begin at the places ``_open``."""

    def find_end(self, place: int) -> int | None:
        """Return the place after the array or object at a place; None if it is longer than about half a piece."""
        # Each level of a long value would else be followed to the end of a piece.
        if place in self._open and self._open_up_to - place > limits.JSON_PIECE // 2:
            return None
        opened = [place]
        stop = place + limits.JSON_PIECE
        found = _match_bracket(self._text, place + 1, stop)
        while sign := found[1]:
            if sign in _CLOSING:
                opened.append(found.end() - 1)
            else:
                opened.pop()
            if not opened:
                return found.end()
            found = _match_bracket(self._text, found.end(), stop)
        self._open, self._open_up_to = frozenset(opened), stop
        return None


class _Contents:
    """The contents of a large array or object, which are read in pieces."""

    def __init__(self, text: bytes, place: int, depth: int, brackets: _Brackets) -> None:
        self._text = text
        self._brackets = brackets
        self._place = place + 1
        """The place up to which the contents are read."""
        self._sign = text[place : place + 1]
        self._depth = depth
        self._after_comma = False
        first = _match_first_name(text, place + 1, place + limits.JSON_PIECE) if self._sign == b"[" else None
        self._joint = b"}," + first[0] if first else b""
        """The text between two objects of an array, with the name that each of them begins with.

        It is empty if the array has no such text, or has it elsewhere, too.
        """

    def read(self, sink: Sink) -> int:
        """Read all contents into a sink. Return the place after the value."""
        decode(b"[" * (self._depth + 1) + b"]" * (self._depth + 1))  # refused if this is too deep
        while True:
            self._place = _after_space(self._text, self._place)
            if self._take_joined(sink) or self._take_complete(sink):
                continue
            if self._has(_CLOSING[self._sign]) and not self._after_comma:
                return self._place + 1
            self._take_large(sink)

    def _take_joined(self, sink: Sink) -> bool:
        """Take objects up to the last joint in a piece. Return False if there is none.

        A search for the joint is far faster than a match of all brackets and strings. The parser refuses a piece that
        ends inside a string or a nested value, since it is incomplete. Then the array is read without joints.
        """
        joint = self._text.rfind(self._joint, self._place, self._place + limits.JSON_PIECE) if self._joint else -1
        if joint == -1:
            return False
        end = joint + 2  # after the comma
        try:
            run = self._parse(self._place, end)
        except ValueError:
            self._joint = b""
            return False
        self._advance(end)
        sink.take(run)
        return True

    def _take_complete(self, sink: Sink) -> bool:
        """Take the members or items that end within a piece. Return False if there are none."""
        end = _match_members(self._text, self._place, self._place + limits.JSON_PIECE).end()
        if end == self._place:
            return False
        run = self._parse(self._place, end)
        self._advance(end)
        sink.take(run)
        return True

    def _advance(self, end: int) -> None:
        self._place = end
        self._after_comma = self._text[end - 1 : end] == b","

    def _take_large(self, sink: Sink) -> None:
        """Take a member or an item that is longer than a piece or very deep, with the comma after it."""
        start = self._place
        name = self._read_name() if self._sign == b"{" else None
        sign = self._text[self._place : self._place + 1]
        end = self._find_end(sign)
        if end is None:
            inner = sink.enter(name, sign, self._place)
            end = _read_value(self._text, self._place, inner, self._depth + 1, self._brackets)
        else:
            sink.take(self._parse(start, end))
        self._place = _after_space(self._text, end)
        self._after_comma = self._has(b",")
        if not self._after_comma and not self._has(_CLOSING[self._sign]):
            raise ValueError("a comma or the end was expected")
        self._place += self._after_comma

    def _find_end(self, sign: bytes) -> int | None:
        """Return the place after the next value if that can be parsed in one step, else None."""
        if sign in _CLOSING:
            return self._brackets.find_end(self._place)
        # Otherwise it is a number or a literal, after a long name or much white space.
        return None if sign == b'"' else _match_scalar(self._text, self._place, len(self._text)).end()

    def _read_name(self) -> str:
        """Return the name of a member, and go to its value."""
        if not self._has(b'"'):
            raise ValueError("a name was expected")
        parts: list[str] = []
        self._place = _after_space(self._text, _read_string(self._text, self._place, parts.append))
        if not self._has(b":"):
            raise ValueError("a colon was expected")
        self._place = _after_space(self._text, self._place + 1)
        return "".join(parts)

    def _has(self, character: bytes) -> bool:
        return self._text.startswith(character, self._place)

    def _parse(self, start: int, end: int) -> Any:
        """Parse some members or items at their depth in the text, so that its limit is the parser's."""
        piece = self._text[start:end].removesuffix(b",")
        whole = b"{%b}" if self._sign == b"{" else b"[%b]"
        run = decode_small(b"[" * self._depth + whole % piece + b"]" * self._depth)
        for _ in range(self._depth):
            [run] = run
        if not run:
            raise ValueError("a value was expected")
        return run


def _read_string(text: bytes, place: int, take: Callable[[str], None]) -> int:
    """Read the string at a place in pieces. Return the place after it."""
    start = place + 1
    while text[start : start + 1] != b'"':
        end = _match_characters(text, start, start + limits.JSON_PIECE).end()
        # The bytes of a character after its first are 10xxxxxx in UTF-8.
        while end > start and text[end : end + 1] and text[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        if end == start:
            raise ValueError("EOF while parsing a string")
        take(decode(b'"%b"' % text[start:end]))
        start = end
    return start + 1


def _after_space(text: bytes, place: int) -> int:
    """Return the place after white space. It is skipped in pieces, as there can be much of it."""
    end = _match_space(text, place, place + limits.JSON_PIECE).end()
    while end == place + limits.JSON_PIECE:
        place = end
        end = _match_space(text, place, place + limits.JSON_PIECE).end()
    return end
