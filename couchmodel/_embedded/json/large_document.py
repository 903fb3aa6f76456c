"""Read a large document piece by piece, without making a Python value of the whole.

The result is the body's normalized JSON text and its Erlang term (for the revision id). Millions of arrays and objects
would stop all other threads: Python's garbage collector visits them again and again, and they are freed in one step.
Here the objects of only one piece of the text exist at a time.
"""

from collections import defaultdict
from typing import Any, Final, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.json.cutter import Sink, parse_into
from couchmodel._embedded.json.values import Limit, Value
from couchmodel._embedded.json.writer import encode_value
from couchmodel._embedded.rules.erlang_binary import (
    LONGEST_STRING,
    NIL,
    SMALL_TAG,
    Term,
    encode_contents,
    header,
    key_term,
    string_term,
)
from couchmodel.errors import ContentTooLargeError

__all__ = ["LargeDocument", "RepeatedNameError", "read_large"]


class RepeatedNameError(Exception):
    """An object has two members of the same name, and the earlier one is already written."""


class LargeDocument(NamedTuple):
    """The special members of a document, and the rest of it as JSON text and as Erlang term."""

    special: dict[str, Any]
    text: bytes
    term: Term


def read_large(text: bytes, kept: frozenset[str]) -> LargeDocument:
    """Read the JSON text of a document. The special members that are in ``kept`` remain in its body.

    Raises:
        ValueError: if it is not JSON.
        DocumentError: if a number is too large.
        ContentTooLargeError: if it is larger than a document may be, or its special members have too many values.
        RepeatedNameError: if an object has a name twice. The last member would count, at its own place.
    """
    document = _DocumentSink(kept)
    parse_into(text, document)
    return LargeDocument(document.special.value, b"".join(document.output.text), Term(document.output.term))


class _DocumentSink:
    """The sink that separates the special members from the body."""

    def __init__(self, kept: frozenset[str]) -> None:
        self.special = Value(b"{", Limit(limits.SPECIAL_VALUES, "special members", "document_too_large"))
        self.output = _Output(self.special.value)
        self._body = _BodySink(self.output, b"{")
        self._kept = kept

    def take(self, run: dict[str, Any]) -> None:
        special = {name: value for name, value in run.items() if self._is_special(name)}
        if special:
            self.special.take(special)
            run = {name: value for name, value in run.items() if name not in special}
        if run:
            self._body.take(run)

    def enter(self, name: str | None, sign: bytes, place: int) -> Sink:
        sink = self.special if self._is_special(name or "") else self._body
        return sink.enter(name, sign, place)

    def close(self, place: int) -> None:
        self._body.close(place)

    def _is_special(self, name: str) -> bool:
        return name[:1] == "_" and name not in self._kept


class _Output:
    """The parts of the text and the term of a body. ``special`` are the members that are not in it."""

    def __init__(self, special: dict[str, Any]) -> None:
        self.text: list[bytes] = []
        self.term: list[bytes] = []
        self._special = special
        self._size = 0

    def write(self, text: bytes) -> None:
        """Append a part of the text. Raises ContentTooLargeError if it is larger than a document may be."""
        self.text.append(text)
        self._size += len(text)
        if self._size > limits.DOCUMENT_BYTES:
            raise ContentTooLargeError(str(self._special.get("_id", "")), code="document_too_large")


class _BodySink:
    """The sink that writes the text and the term of an object, an array or a string."""

    __slots__ = ("_count", "_names", "_output", "_place", "_sign")

    def __init__(self, output: _Output, sign: bytes) -> None:
        self._output = output
        self._sign = sign
        self._place = len(output.term)
        """The place of the header in the term. It has the number of members, which is known at the end."""
        self._count = 0
        self._names: defaultdict[int, set[str]] = defaultdict(set)
        output.term.append(b"")
        output.write(sign)

    def take(self, run: Any) -> None:
        if isinstance(run, dict):
            for name in run:
                self._note_name(name)
        text, term = encode_value(run)[1:-1], encode_contents(run)
        if self._count and self._sign != b'"':
            self._output.write(b",")
        self._output.write(text)
        self._output.term.append(term)
        self._count += len(term) if isinstance(run, str) else len(run)

    def enter(self, name: str | None, sign: bytes, place: int) -> Sink:
        if self._count:
            self._output.write(b",")
        self._count += 1
        if name is not None:
            self._note_name(name)
            self._output.write(encode_value(name) + b":")
            self._output.term.append(key_term(name))
        return _BodySink(self._output, sign)

    def close(self, place: int) -> None:
        self._output.write(_CLOSING[self._sign])
        term = self._output.term
        characters = self._characters() if self._sign == b"[" else b""
        if characters:
            term[self._place :] = [string_term(characters)]
        else:
            term[self._place] = header(self._sign, self._count)
            term.append(b"" if self._sign == b'"' else NIL)
        while self._names:  # one by one, because other threads wait while a set is freed
            self._names.popitem()

    def _characters(self) -> bytes:
        """Return the items of an array if all are small numbers, since Erlang writes them as a string; else nothing."""
        if self._count > LONGEST_STRING:
            return b""
        items = self._output.term[self._place + 1 :]
        if sum(map(len, items)) != 2 * self._count:
            return b""
        joined = b"".join(items)
        # The term of a small number is its tag and the number. So the first other tag shows another item.
        return joined[1::2] if joined[::2] == SMALL_TAG * self._count else b""

    def _note_name(self, name: str) -> None:
        # Several small sets: one of hundreds of thousands of names would be freed in one step.
        names = self._names[hash(name) % limits.NAME_SETS]
        if name in names:
            raise RepeatedNameError
        names.add(name)


_CLOSING: Final = {b"{": b"}", b"[": b"]", b'"': b'"'}
