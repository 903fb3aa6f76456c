"""The time that a backtracking engine may take for a regular expression.

A repetition inside of a repetition may take for ever, and so may many repetitions beside each other. A guard has
neither, so that no document and no design document that was replicated can hold up a store.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

__all__ = ["LONGEST", "SlowPatternError", "has_linear_time", "names", "parser"]

parser: Any = import_module("re._parser")
names: Any = import_module("re._constants")
"""Python's parser of regular expressions, and the names of the parts that it returns. No type checker knows them."""

_MANY: Final = 16
"""A repetition that may have more turns than this counts as endless."""

_MOST_ENDLESS: Final = 3
"""The most endless repetitions in one pattern. The time for a text grows with its length to the power of them."""

_MOST_WAYS: Final = 10_000
"""The most ways to match a pattern at one place, endless repetitions aside."""

LONGEST: Final = 2_000
"""The longest texts that are compared with a pattern whose time grows faster than the text, in characters."""


class SlowPatternError(ValueError):
    """A pattern could take for ever. The text says why."""


def has_linear_time(source: str) -> bool:
    """Return False if the time of a search grows faster than the text, so that only short texts should be searched.

    Raises SlowPatternError if no text is short enough; re.error if the pattern is malformed.
    """
    time = _Time()
    time.ways(parser.parse(source, 0))
    return time.endless == 0 or (time.endless == 1 and source.startswith("^"))


class _Time:
    """The endless repetitions of a pattern."""

    def __init__(self) -> None:
        self.endless = 0

    def ways(self, parts: Iterable[tuple[Any, Any]]) -> int:
        """Return in how many ways an engine may try the parts at one place, endless repetitions aside.

        Raises SlowPatternError if there are too many of either.
        """
        found = 1
        for kind, given in parts:
            match kind:
                case names.BRANCH:
                    # The parts stand behind each other, so each way of one is tried with each way of the others.
                    found *= self._ways_of_branches(given[1])
                case names.SUBPATTERN:
                    found *= self.ways(given[3])
                case names.ASSERT | names.ASSERT_NOT:
                    found *= self.ways(given[1])
                case names.MAX_REPEAT | names.MIN_REPEAT:
                    found *= self._ways_to_repeat(*given)
                case _ if kind not in (*_SINGLES, names.AT):
                    raise SlowPatternError(f"the time for {str(kind).lower()} is not known")
        if found > _MOST_WAYS or self.endless > _MOST_ENDLESS:
            raise SlowPatternError("it can be matched in so many ways that a search could take for ever")
        return found

    def _ways_of_branches(self, branches: Iterable[Any]) -> int:
        found, before, most = 0, self.endless, self.endless
        for branch in branches:
            self.endless = before
            found += self.ways(branch)
            most = max(most, self.endless)
        # Only one branch is taken at a time, so those of the worst branch count.
        self.endless = most
        return found

    def _ways_to_repeat(self, least: int, most: Any, parts: Any) -> int:
        before = self.endless
        ways = self.ways(parts)
        is_fixed = ways == 1 and self.endless == before
        if most is not names.MAXREPEAT and most <= _MANY and self.endless == before:
            return int(ways**most * (most - least + 1))
        # An optional part repeats nothing.
        if most == 1:
            return ways + 1
        if not is_fixed and not _is_set_apart(list(parts)):
            raise SlowPatternError("it repeats a repetition, so a search could take for ever")
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
