"""JSON texts as CouchDB reads them, large ones taken apart so that other threads get their turn.

Of a key that an object has twice, the last value counts, and stands where it stood. The parser leaves it where the
first one was, which would make another revision id. It does not tell when it has met one; but the text has more
quotation marks then than what was made of it.

A JSON parser written in C or Rust holds Python's lock from the beginning of a text to its end, and an event loop in
another thread stands still that long. So a large text is cut between the members and the items of whatever is large in
it, however deep, and parsed piece by piece. What becomes of the pieces is a :class:`Sink`'s business: who makes
no value of the whole spares Python's collector from looking at millions of objects, too. The regular expression
that finds the cuts is only trusted to find them: every piece goes through the parser that small texts go through.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

from pydantic_core import to_json

from couchmodel._wire.messages import decode

__all__ = [
    "LARGE",
    "LongText",
    "Sink",
    "TooManyError",
    "Values",
    "containers",
    "cut",
    "decode_large",
    "decode_small",
    "decode_stored",
    "dissolve",
    "first_sign",
    "is_large",
    "release",
]

LARGE: Final = 262_144
"""Bytes that are parsed at once whatever they are, and four times as many if they are not too many small things."""

_CONTAINERS: Final = 25_000
"""Arrays and objects that are parsed at once: what most of all takes time, 5 ms of it."""

PIECE: Final = 32_768
"""Bytes that are parsed at a time, more or less."""

ITEMS: Final = 250
"""Items of an array that are freed at a time."""

_OPENING: Final = (b"[", b"{")
_CLOSING: Final = (b"]", b"}")
_SPACE: Final = b" \t\r\n"

_Find = Callable[[bytes, int, int], re.Match[bytes]]


def _finder(pattern: bytes) -> _Find:
    """What finds a pattern at a place; it is one that finds something always, be it nothing at all."""
    return cast(_Find, re.compile(pattern, re.DOTALL | re.VERBOSE).match)


def _between(apart: bytes, depth: int) -> bytes:
    """A pattern of what is between signs: no ``apart``, but strings, and arrays and objects that are not as deep."""
    rest = rb'[^][{}"%b]++ | "(?: [^"\\]++ | \\. )*+"' % apart
    if depth:
        inner = _between(b"", depth - 1)
        rest += rb" | \[ %b \] | \{ %b \}" % (inner, inner)
    return b"(?: %b )*+" % rest


_SHALLOW: Final = 4
"""How deep documents are mostly. What is deeper is passed bracket by bracket."""

_next_sign: Final = _finder(rb"%b ([][{},])?" % _between(b",", _SHALLOW))
_next_bracket: Final = _finder(rb"%b ([][{}])?" % _between(b"", _SHALLOW))

_space: Final = _finder(rb"[ \t\r\n]*+")

# As much of a string as ends between two characters: an astral one may be written as two, both escaped.
_characters: Final = _finder(
    rb"""(?: [^"\\]++ | \\[^u] | \\u(?![dD][89abAB])[0-9a-fA-F]{4} | \\u[dD][89abAB]..\\u.... )*+"""
)


class Sink(Protocol):
    """What takes in a large value: objects, arrays and strings that are entered and left, and runs of what they have.

    A run is a dict of members, a list of items, or a part of a string.
    """

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        """A value begins with this sign, at this place of the text, and under this name in an object."""

    def take(self, run: Any) -> None:
        """More of what was entered last."""

    def leave(self, place: int) -> None:
        """It ends before this place."""


def is_large(text: bytes) -> bool:
    """Whether to parse a text at once would take longer than others should wait."""
    if len(text) <= LARGE:
        return False
    return len(text) > 4 * LARGE or text.count(b"[") + text.count(b"{") > _CONTAINERS


def decode_small(text: bytes) -> Any:
    """The value of a JSON text, parsed at once. Raises ValueError where it is none, or is not UTF-8."""
    value = decode(text)
    # A mark that is spelled like this is one more in what was made of the text.
    if text.count(b'"') != to_json(value).count(b'"') or b"\\u0022" in text:
        value = json.loads(text.decode(), object_pairs_hook=_members)
    # CouchDB's parser takes the smallest number that there is for 0, and it may be part of a revision id.
    return _without_smallest(value) if b"-324" in text else value


def decode_large(text: bytes, most: float = math.inf) -> Any:
    """The value of a JSON text, parsed piece by piece.

    Raises ValueError where it is none, or is not UTF-8, and TooManyError where more than ``most`` values are in it.
    """
    if first_sign(text) not in (*_OPENING, b'"'):
        return decode_small(text)
    values = Values(most)
    try:
        cut(text, values)
    except (TooManyError, ValueError):
        values.dissolve()
        raise
    return values.value


def decode_stored(text: bytes, wanted: Callable[[], Collection[str] | None]) -> dict[str, Any]:
    """A document that is stored. Of a large one there may be only the members that are ``wanted``, None being all."""
    if not is_large(text):
        document: dict[str, Any] = decode(text)
        return document
    names = wanted()
    sink = Values() if names is None else _Members(names)
    cut(text, sink)
    whole: dict[str, Any] = sink.value
    return whole


def first_sign(text: bytes) -> bytes:
    """What a JSON text begins with; ``{`` says that it is an object, if it is JSON at all."""
    place = _after_space(text, 0)
    return text[place : place + 1]


def cut(text: bytes, sink: Sink) -> None:
    """Hand the value of a JSON text to a sink. Raises ValueError where it is none, or is not UTF-8."""
    _Cutter(text, sink).cut()


def containers(value: dict[str, Any] | list[Any]) -> Iterator[dict[str, Any] | list[Any]]:
    """An array or object, and all that are in it."""
    waiting = [value]
    while waiting:
        container = waiting.pop()
        parts = container.values() if isinstance(container, dict) else container
        waiting += [part for part in parts if isinstance(part, dict | list)]
        yield container


def release(values: list[Any]) -> None:
    """Empty a list piece by piece: nobody else gets a turn while many objects are freed at once."""
    while values:
        del values[-ITEMS:]


def dissolve(value: Any) -> None:
    """Empty whatever is in a value, all through: nobody else gets a turn while many objects are freed at once."""
    if isinstance(value, dict):
        while value:
            dissolve(value.popitem()[1])
    elif isinstance(value, list):
        while value:
            dissolve(value.pop())


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, member in pairs:
        members.pop(name, None)
        members[name] = member
    return members


def _without_smallest(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_smallest(member) for name, member in value.items()}
        case list():
            return [_without_smallest(item) for item in value]
        case float() if abs(value) == 5e-324:
            return 0.0
    return value


class LongText(NamedTuple):
    """A string that is too long to be put together."""

    parts: Sequence[str]


class TooManyError(Exception):
    """There are more values in a text than may be."""


class Values:
    """The sink that makes a value.

    Raises TooManyError where it has more than ``most`` others in it.
    """

    def __init__(self, most: float = math.inf) -> None:
        self.value: Any = None
        self._left = most
        self._entered: list[tuple[str | None, bytes, Any]] = []

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        """A value begins."""
        self._entered.append((name, sign, {} if sign == b"{" else []))

    def take(self, run: Any) -> None:
        """More of it."""
        if self._left < math.inf and not isinstance(run, str):
            self._left -= sum(map(len, containers(run)))
            if self._left < 0:
                raise TooManyError
        self._put(run)

    def leave(self, place: int) -> None:
        """It ends."""
        name, sign, value = self._entered.pop()
        self.value = self._text(value) if sign == b'"' else value
        if self._entered:
            self._put([self.value] if name is None else {name: self.value})

    def _text(self, parts: list[str]) -> object:
        return "".join(parts)

    def dissolve(self) -> None:
        """Free what there is of a value that will not be whole, a little at a time."""
        while self._entered:
            dissolve(self._entered.pop()[2])

    def _put(self, run: Any) -> None:
        _, sign, value = self._entered[-1]
        if sign == b"{":
            _put_last(value, run)
        elif sign == b"[":
            value.extend(run)
        else:
            value.append(run)


class _Members:
    """The sink that makes an object of some members only, and lets go of the others as they come."""

    def __init__(self, names: Collection[str]) -> None:
        self._values = Values()
        self._names = names
        self._depth = 0
        self._is_wanted = True

    @property
    def value(self) -> Any:
        """The object."""
        return self._values.value

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        self._depth += 1
        if self._depth == 2:
            self._is_wanted = name in self._names
        if self._is_wanted:
            self._values.enter(name, sign, place)

    def take(self, run: Any) -> None:
        if self._depth == 1:
            run = {name: value for name, value in run.items() if name in self._names}
        if self._is_wanted:
            self._values.take(run)

    def leave(self, place: int) -> None:
        if self._is_wanted:
            self._values.leave(place)
        self._depth -= 1
        if self._depth == 1:
            self._is_wanted = True


def _put_last(members: dict[str, Any], more: dict[str, Any]) -> None:
    """Add members, of which those that are there already leave their place."""
    if not members.keys().isdisjoint(more):
        for name in more:
            members.pop(name, None)
    members.update(more)


class _Cutter:
    def __init__(self, text: bytes, sink: Sink) -> None:
        self._text = text
        self._sink = sink
        self._entered: list[bytes] = []
        self._open: list[int] = []
        """Where those begin that are open, and not entered."""
        self._start = 0
        """What is before has been handed over."""
        self._goes_on = False
        """Whether some of what was entered last is before, so that a comma or the end comes next."""

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
        """Take in what was entered, to its end. The place behind it."""
        while self._entered:
            is_full = place - self._start > PIECE
            find = _next_sign if is_full and not self._open else _next_bracket  # commas are many
            found = find(self._text, place, place + PIECE)
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
            if self._open and place - self._start > 2 * PIECE:
                self._enter_open()
        return place

    def _pass(self, place: int, stuck: bool) -> int:
        """Go on where no sign was found in a piece. Where to."""
        if place == len(self._text):
            raise ValueError("EOF while parsing a value")
        return self._pass_string(place) if stuck else place

    def _pass_string(self, place: int) -> int:
        """Take in a string that is longer than a piece. The place behind it."""
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
        self._go_on(end + 1)
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
        self._start, self._goes_on = place + 1, False

    def _close(self, place: int, sign: bytes) -> None:
        if self._open:
            self._open.pop()
            return
        if self._entered[-1] + sign not in (b"{}", b"[]"):
            raise ValueError("another bracket was expected")
        self._hand_over(place, sign)
        self._entered.pop()
        self._sink.leave(place + 1)
        self._go_on(place + 1)

    def _go_on(self, place: int) -> None:
        self._start, self._goes_on = place, True

    def _hand_over(self, end: int, sign: bytes) -> str | None:
        """Give the sink what comes before a sign: a comma, a bracket, or a quotation mark.

        The name of what begins there, if anything with a name does.
        """
        begins = sign == b'"' or sign in _OPENING
        piece = self._piece(end, sign) + (b"null" if begins else b"")
        name = None
        if piece:
            run = self._parsed(piece)
            if begins and isinstance(run, dict):
                name, _ = run.popitem()
            elif begins:
                run.pop()
            if run:
                self._sink.take(run)
        self._go_on(end)
        return name

    def _piece(self, end: int, sign: bytes) -> bytes:
        """What is to be handed over, without a comma before it."""
        piece = self._text[self._start : end].strip(_SPACE)
        if not self._goes_on:
            if not piece and sign == b",":
                raise ValueError("a value was expected")
        elif piece or sign == b'"' or sign in _OPENING:
            piece, comma = piece[1:], piece[:1]
            if comma != b"," or not (piece or sign == b'"' or sign in _OPENING):
                raise ValueError("a comma or the end was expected")
        return piece

    def _parsed(self, piece: bytes) -> Any:
        """The members or items in a piece, parsed as deep as they stand in the text."""
        depth = len(self._entered) - 1
        whole = b"{%b}" if self._entered[-1] == b"{" else b"[%b]"
        run = decode_small(b"[" * depth + whole % piece + b"]" * depth)
        for _ in range(depth):
            [run] = run
        return run


def _end_of_string(text: bytes, place: int) -> int:
    """The place behind a string. Raises ValueError where it does not end."""
    ends = [end for _, end in _pieces_of_string(text, place)]
    return ends[-1] + 1 if ends else place + 2


def _pieces_of_string(text: bytes, place: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of a string begin and end; the last ends at the quotation mark. Raises ValueError."""
    start = place + 1
    while text[start : start + 1] != b'"':
        end = _characters(text, start, start + PIECE).end()
        while end > start and text[end : end + 1] and text[end] & 0xC0 == 0x80:  # inside of a character
            end -= 1
        if end == start:
            raise ValueError("EOF while parsing a string")
        yield start, end
        start = end


def _after_space(text: bytes, place: int) -> int:
    """The place behind white space, which is looked for a piece at a time."""
    end = _space(text, place, place + PIECE).end()
    while end == place + PIECE:
        place = end
        end = _space(text, place, place + PIECE).end()
    return end
