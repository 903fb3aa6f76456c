r"""Regular expressions of fields, as expressions that pydantic's engines, JavaScript and Python read alike.

A pattern is parsed, and written anew from its parts, so nothing depends on how each engine reads the source. Three
things have no equal in JavaScript or could hold up the database, and are told instead of guarded:

* Parts that the engines know under other names, or not at all: look-around, references, flags, properties of Unicode.
* Repetitions of repetitions, for which a backtracking engine may take for ever, unless each turn begins or ends with a
  character that occurs nowhere else in it.
* ``.``, ``\w`` and the like mean the same for printable ASCII only. Other texts are left alone.
"""

import re
import warnings
from collections.abc import Iterable
from re import _constants as names  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
from re import _parser as parser  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any, Final, NamedTuple

from couchmodel.types import JSONObject

__all__ = ["PortablePattern", "UnportableError", "portable_pattern"]

_MANY: Final = 16
"""A repetition that may have more turns than this counts as endless."""

_MOST_ENDLESS: Final = 3
"""The most endless repetitions in one pattern. The time for a text grows with its length to the power of them."""

_MOST_WAYS: Final = 10_000
"""The most ways to match a pattern at one place, endless repetitions aside."""

_LONGEST: Final = 2_000
"""The longest texts that are compared with a pattern whose time grows faster than the text, in characters."""

_OTHER_IN_RUST: Final = re.compile(r"\\[<>]|\\b\{|\\x\{|\\[uUpPzZNkK]|&&|--|~~|\(\?(?!:)")
"""Parts that pydantic's default engine reads in another way than Python, or that only one of the two has."""

_WIDE: Final = {
    names.CATEGORY_DIGIT: r"\d",
    names.CATEGORY_NOT_DIGIT: r"\D",
    names.CATEGORY_SPACE: r"\s",
    names.CATEGORY_NOT_SPACE: r"\S",
    names.CATEGORY_WORD: r"\w",
    names.CATEGORY_NOT_WORD: r"\W",
}
"""Classes of characters that differ between engines beyond ASCII."""

_END: Final = r"(?![\s\S])"
"""The end of a text. In Python, ``$`` is also before a newline at the end."""


class UnportableError(ValueError):
    """A pattern cannot be in a guard. The text says why."""


class PortablePattern(NamedTuple):
    """A pattern for the text rule of a guard, and whether some texts are left alone: those of other characters."""

    rule: JSONObject
    is_partial: bool
    longest: int | None


def portable_pattern(pattern: str | re.Pattern[str], *, is_python: bool) -> PortablePattern:
    """Return a pattern in the form of a guard's rule. ``is_python`` says that pydantic uses Python's engine for it.

    Raises UnportableError.
    """
    source = pattern if isinstance(pattern, str) else pattern.pattern
    if not isinstance(source, str):
        raise UnportableError("it is of bytes")
    if isinstance(pattern, re.Pattern) and pattern.flags != re.UNICODE:
        raise UnportableError("it has flags")
    found = _OTHER_IN_RUST.search(source)
    if found is not None:
        raise UnportableError(f"{found[0]} is not the same in every engine")
    writer = _Writer(ends_before_newline=is_python or isinstance(pattern, re.Pattern))
    parts = _parse(source)
    text, time = writer.write(parts), _Time()
    time.ways(parts)
    rule: JSONObject = {"source": text, "said": f"has to match the pattern {source}"}
    is_slow = time.endless > 1 or (time.endless == 1 and not text.startswith("^"))
    if writer.is_partial:
        rule["printable"] = True
    if is_slow:
        rule["longest"] = _LONGEST
    return PortablePattern(rule, writer.is_partial, _LONGEST if is_slow else None)


def _parse(source: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what Python warns of is read in another way by other engines
        try:
            return parser.parse(source, 0)
        except (re.error, FutureWarning, DeprecationWarning, OverflowError, RecursionError) as error:
            raise UnportableError(str(error)) from None


class _Writer:
    """A writer of patterns. It notes whether what it has written depends on the engine."""

    def __init__(self, *, ends_before_newline: bool) -> None:
        self._ends_before_newline = ends_before_newline
        self.is_partial = False

    def write(self, parts: Iterable[tuple[Any, Any]]) -> str:
        """Return the source of the parts of a pattern."""
        return "".join(self._part(kind, given) for kind, given in parts)

    def _part(self, kind: Any, given: Any) -> str:
        match kind:
            case names.LITERAL:
                return _escape(given)
            case names.NOT_LITERAL:
                self.is_partial = True
                return f"[^{_escape(given)}]"
            case names.ANY:
                self.is_partial = True
                return "."
            case names.IN:
                return self._set(given)
            case names.AT:
                return self._place(given)
            case names.BRANCH:
                return f"(?:{'|'.join(self.write(each) for each in given[1])})"
            case names.SUBPATTERN if not given[1] and not given[2]:
                return f"(?:{self.write(given[3])})"
            case names.MAX_REPEAT | names.MIN_REPEAT:
                return self._repeat(*given)
        raise UnportableError(f"{str(kind).lower().replace('_', ' ')} is not the same in every engine")

    def _place(self, place: Any) -> str:
        match place:
            case names.AT_BEGINNING | names.AT_BEGINNING_STRING:
                return "^"
            case names.AT_END:
                self.is_partial |= self._ends_before_newline
                return _END
            case names.AT_BOUNDARY | names.AT_NON_BOUNDARY:
                self.is_partial = True
                return r"\b" if place == names.AT_BOUNDARY else r"\B"
        raise UnportableError(f"{str(place).lower().replace('_', ' ')} is not the same in every engine")

    def _set(self, members: Iterable[tuple[Any, Any]]) -> str:
        text = ""
        for kind, given in members:
            match kind:
                case names.NEGATE:
                    self.is_partial = True
                    text += "^"
                case names.LITERAL:
                    text += _escape(given)
                case names.RANGE:
                    text += f"{_escape(given[0])}-{_escape(given[1])}"
                case names.CATEGORY:
                    self.is_partial = True
                    text += _WIDE[given]
        return f"[{text}]"

    def _repeat(self, least: int, most: Any, parts: Any) -> str:
        inner = self.write(parts)
        said = "*" if least == 0 else "+"
        if most is not names.MAXREPEAT:
            said = f"{{{least}}}" if least == most else f"{{{least},{most}}}"
        elif least > 1:
            said = f"{{{least},}}"
        return f"{inner if _is_one_item(parts) else f'(?:{inner})'}{said}"


def _escape(point: int) -> str:
    """Return a character as both engines write it."""
    if point > 0xFFFF or 0xD800 <= point <= 0xDFFF:
        raise UnportableError(f"{chr(point)!r} is two characters in JavaScript")
    character = chr(point)
    if character.isascii() and (character.isalnum() or character in " _@#%&=:;,<>~`'\"!"):
        return character
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"


def _is_one_item(parts: Any) -> bool:
    return len(parts) == 1 and parts[0][0] in (*_SINGLES, names.SUBPATTERN, names.BRANCH)


# --- the time that a backtracking engine may take


class _Time:
    """The endless repetitions of a pattern."""

    def __init__(self) -> None:
        self.endless = 0

    def ways(self, parts: Iterable[tuple[Any, Any]]) -> int:
        """Return in how many ways an engine may try the parts at one place, endless repetitions aside.

        Raises UnportableError if there are too many of either.
        """
        found = 1
        for kind, given in parts:
            match kind:
                case names.BRANCH:
                    found *= sum(self.ways(each) for each in given[1])
                case names.SUBPATTERN:
                    found *= self.ways(given[3])
                case names.MAX_REPEAT | names.MIN_REPEAT:
                    found *= self._ways_to_repeat(*given)
        if found > _MOST_WAYS or self.endless > _MOST_ENDLESS:
            raise UnportableError("it can be matched in so many ways that a search could take for ever")
        return found

    def _ways_to_repeat(self, least: int, most: Any, parts: Any) -> int:
        before = self.endless
        ways = self.ways(parts)
        is_fixed = ways == 1 and self.endless == before
        if most is not names.MAXREPEAT and most <= _MANY and self.endless == before:
            return int(ways**most * (most - least + 1))
        if most == 1:
            return ways + 1
        if not is_fixed and not _is_set_apart(list(parts)):
            raise UnportableError("it repeats a repetition, so a search could take for ever")
        self.endless = max(self.endless, before + 1)
        return 1


def _is_set_apart(parts: list[tuple[Any, Any]]) -> bool:
    """Return True if a turn begins or ends with a character that occurs nowhere else in it, as in ``(-[a-z]+)*``.

    The rest of the turn may have one repetition, so there is one way to match it.
    """
    while len(parts) == 1 and parts[0][0] is names.SUBPATTERN:
        parts = list(parts[0][1][3])
    repetitions = [each for each in parts if each[0] in _REPETITIONS]
    if any(each[0] not in (*_SINGLES, *_REPETITIONS) for each in parts) or len(repetitions) > 1:
        return False
    if any(each[0] not in _SINGLES for repetition in repetitions for each in repetition[1][2]):
        return False
    return any(
        mark[0] is names.LITERAL and not any(_may_match(part, mark[1]) for part in rest)
        for mark, rest in ((parts[0], parts[1:]), (parts[-1], parts[:-1]))
    )


_REPETITIONS: Final = (names.MAX_REPEAT, names.MIN_REPEAT)
_SINGLES: Final = (names.LITERAL, names.NOT_LITERAL, names.IN, names.ANY)


def _may_match(part: tuple[Any, Any], point: int) -> bool:
    """Return False if no text that the part matches has the character."""
    kind, given = part
    match kind:
        case names.LITERAL:
            return bool(given == point)
        case names.IN:
            return any(
                each in (names.NEGATE, names.CATEGORY)
                or (each is names.LITERAL and inner == point)
                or (each is names.RANGE and inner[0] <= point <= inner[1])
                for each, inner in given
            )
        case names.MAX_REPEAT | names.MIN_REPEAT:
            return any(_may_match(each, point) for each in given[2])
    return True
