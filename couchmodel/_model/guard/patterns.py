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
from typing import Any, Final, NamedTuple

from couchmodel._wire.pattern_time import LONGEST, SlowPatternError, has_linear_time, names, parser
from couchmodel.types import JSONObject

__all__ = ["PortablePattern", "UnportableError", "portable_pattern"]

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

_SINGLES: Final = (names.LITERAL, names.NOT_LITERAL, names.IN, names.ANY)

_END: Final = r"(?![\s\S])"
"""The end of a text. In Python, ``$`` is also before a newline at the end."""


class UnportableError(ValueError):
    """A pattern cannot be in a guard. The text says why."""


class PortablePattern(NamedTuple):
    """A pattern for the text rule of a guard. ``is_partial`` says that texts with some characters are not checked."""

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
    # JavaScript has other flags, and 1.8.5 none of those for Unicode.
    if isinstance(pattern, re.Pattern) and pattern.flags != re.UNICODE:
        raise UnportableError("it has flags")
    # Python's parser takes most of these parts for something else, so they are looked for in the source.
    found = _OTHER_IN_RUST.search(source)
    if found is not None:
        raise UnportableError(f"{found[0]} is not the same in every engine")
    writer = _Writer(ends_before_newline=is_python or isinstance(pattern, re.Pattern))
    text = writer.write(_parse(source))
    rule: JSONObject = {"source": text, "said": f"has to match the pattern {source}"}
    try:
        is_slow = not has_linear_time(text)
    except SlowPatternError as error:
        raise UnportableError(str(error)) from None
    if writer.is_partial:
        rule["printable"] = True
    if is_slow:
        rule["longest"] = LONGEST
    return PortablePattern(rule, writer.is_partial, LONGEST if is_slow else None)


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
                # Groups are written without numbers, as nothing refers to them.
                return f"(?:{'|'.join(self.write(each) for each in given[1])})"
            case names.SUBPATTERN if not given[1] and not given[2]:
                return f"(?:{self.write(given[3])})"
            case names.MAX_REPEAT | names.MIN_REPEAT:
                return self._repeat(*given)
        raise UnportableError(f"{str(kind).lower().replace('_', ' ')} is not the same in every engine")

    def _place(self, place: Any) -> str:
        match place:
            # Without the flag for many lines, `^` is only at the beginning, in all engines.
            case names.AT_BEGINNING | names.AT_BEGINNING_STRING:
                return "^"
            case names.AT_END:
                # A text that ends with a newline passes in Python, so it is not refused here.
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
        # A lazy repetition finds the same texts as a greedy one; only the extent of the match differs.
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
