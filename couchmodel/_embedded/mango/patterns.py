r"""Translate the patterns of ``$regex`` from the dialect of Erlang's ``re`` to that of the package ``regex``.

Erlang's ``re`` is PCRE over the bytes of UTF-8, with the character classes of Latin-1: ``.`` matches one byte, and
``\w`` matches the first byte of "é". Here each byte becomes one character, and a pattern is rewritten where the
dialects differ. A pattern without a translation is refused, never given another meaning.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import regex

from couchmodel._embedded import limits

__all__ = ["bytewise", "compile_pattern", "is_pattern"]

_DIGITS: Final = 6
"""The number of leading digits that are read of a repetition count. A count of so many digits is already too large."""


def is_pattern(text: str) -> bool:
    """Return True if the text is a regular expression that can be translated."""
    try:
        compile_pattern(text)
    except (regex.error, OverflowError, RecursionError):
        return False
    return True


def compile_pattern(text: str) -> "regex.Pattern[str]":
    """Compile a regular expression of CouchDB. The result is for values that went through :func:`bytewise`.

    Raises ``regex.error`` if it is malformed, too large, or has no translation; OverflowError and RecursionError come
    from the compiler.
    """
    if len(text) > limits.PATTERN_CHARACTERS:
        raise _too_large()
    pattern = _TOKENS.sub(_translate_token, bytewise(text))
    if _size(pattern) > limits.PATTERN_SIZE:
        raise _too_large()
    return regex.compile(pattern, regex.VERSION1)


def bytewise(text: str) -> str:
    """Return a text with one character for each byte of the given text's UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("latin-1")


def _size(pattern: str) -> int:
    """Return the number of characters that a pattern has to match, each counted as often as it must occur."""
    sizes, last = [0], 0
    for part in _PARTS.finditer(pattern):
        count = part["count"]
        if part[0] == "(":
            sizes.append(last := 0)
            continue
        if part[0] == ")" and len(sizes) > 1:
            last = sizes.pop()
        elif count is not None:
            more = last * max(0, int(count.lstrip("0")[:_DIGITS] or 0) - 1)
            last += more
            sizes[-1] += more
            continue
        else:
            last = len(part[0]) if part[0].startswith("[") else 1
        sizes[-1] += last
    return sum(sizes)


def _too_large() -> regex.error:
    return regex.error("regular expression is too large")


def _translate_token(token: re.Match[str]) -> str:
    kind = token.lastgroup
    return token[0] if kind is None else _TRANSLATIONS[kind](token[kind])


def _translate_class(text: str) -> str:
    start = "[^" if text.startswith("[^") else "["
    return start + _CLASS_TOKENS.sub(_translate_token, text[len(start) : -1]) + "]"


def _escape(letter: str) -> str:
    if letter.lower() in _SETS:
        return _set(letter.lower(), negated=letter.isupper())
    if letter in "LlUucgk":
        raise regex.error(f"bad escape \\{letter}")
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    # An escaped letter without a meaning in PCRE stands for itself; `regex` has its own meanings for some of them.
    return letter if letter.isalpha() and letter not in "abABdDfGKnrRtwWX" else f"\\{letter}"


def _escape_in_class(letter: str) -> str:
    return letter if letter in "ABGKRXzZ" else _escape(letter)


def _posix_class(name: str) -> str:
    word = name.removeprefix("^")
    return _set(word, negated=word != name) if word in _SETS else f"[:{name}:]"


def _set(name: str, *, negated: bool) -> str:
    return f"[{'^' if negated else ''}{_SETS[name]}]"


def _character(code: int) -> str:
    if code > 0xFF:
        raise regex.error("character value is too large")
    return f"\\x{code:02x}"


def _flags(letters: str) -> str:
    if not letters.strip("imsx-"):
        return f"(?{letters}"
    raise regex.error(f"unknown flags {letters}")


# The members of character classes in Latin-1, according to Erlang's tables.
_SETS: Mapping[str, str] = {
    "s": r"\t-\r\x20",
    "h": r"\t\x20\xa0",
    "v": r"\n-\r\x85",
    "space": r"\t-\r\x20",
    "blank": r"\t\x20",
    "graph": r"!-\~\xa0-\xff",
    "punct": r"!-/:-@\[-`\{-\~\xa0-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7",
    "ascii": r"\x00-\xff",
}

_ESCAPES: Mapping[str, str] = {
    "C": r"[\x00-\xff]",
    "N": r"[^\n]",
    "Z": r"(?=\n?\Z)",
    "e": r"\x1b",
    "z": r"\Z",
}

_TRANSLATIONS: Mapping[str, Callable[[str], str]] = {
    "quoted": regex.escape,
    "nothing": lambda _: "",
    "octal": lambda digits: _character(int(digits, 8)),
    "hexadecimal": lambda digits: _character(int(digits or "0", 16)),
    "long_hexadecimal": lambda digits: _character(int(digits, 16)),
    "control": lambda letter: _character(ord(letter.upper()) ^ 0x40),
    "call": lambda name: f"(?{name})" if name.isdigit() else f"(?&{name})",
    "number": lambda number: f"\\g<{number}>",
    "name": lambda name: f"\\g<{name}>",
    "group": lambda name: f"(?<{name}>",
    "flags": _flags,
    "class": _translate_class,
    "posix": _posix_class,
    "literal": lambda character: f"\\{character}",
    "escape": _escape,
    "escape_in_class": _escape_in_class,
}

_CODES = r"""
    \\o\{(?P<octal>[0-7]+)\} | \\x\{(?P<long_hexadecimal>[0-9A-Fa-f]+)\} | \\x(?P<hexadecimal>[0-9A-Fa-f]{0,2})
    | \\c(?P<control>[ -~]) | \\[pP](?:\{[^}]*\}|.)
"""

# Text that is no token means the same in both dialects. So does the last alternative of _CODES, a Unicode property.
_TOKENS = re.compile(
    rf"""
    \\Q(?P<quoted>.*?)(?:\\E|\Z) | (?P<nothing>\\E|\(\?\#[^)]*\)) | {_CODES}
    | \\g<(?P<call>\w+)> | \\g(?P<number>\d+) | \\[gk][{{<'](?P<name>\w+)[}}>'] | \\(?P<escape>.)
    | (?P<class>\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\])
    | \(\?'(?P<group>\w+)' | \(\?(?!R\))(?P<flags>[A-Za-z-]+)(?=[:)])
    | (?P<literal>\{{)(?!\d+(?:,\d*)?\}})
    """,
    re.VERBOSE | re.DOTALL,
)

# Within a class, `regex` has nested sets and operators between them. In Erlang these are plain characters.
_CLASS_TOKENS = re.compile(
    rf"\[:(?P<posix>\^?\w+):\] | {_CODES} | \\(?P<escape_in_class>.) | (?P<literal>[\[&|~]|\A-|(?<=[^\\-]-)-)",
    re.VERBOSE | re.DOTALL,
)

# The parts of a translated pattern that determine its size.
_PARTS = re.compile(r"\\. | \[(?:\\.|[^\]\\])*\] | \{(?P<count>\d+)(?:,\d*)?\}[?+]? | .", re.VERBOSE | re.DOTALL)
