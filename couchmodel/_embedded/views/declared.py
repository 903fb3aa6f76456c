"""The mapper of declared views: it does what their JavaScript does, without JavaScript.

``_wire.declared_views`` says what a declaration is. A view whose declaration does not fit its JavaScript, or says
something that is not known here, is left to the JavaScript.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from couchmodel._embedded.json.values import decode_stored
from couchmodel._embedded.rules.javascript_values import from_javascript, javascript_text
from couchmodel._embedded.views.designs import Design, View
from couchmodel._embedded.views.emitted import EncodedKey, Order, Rows, SourceDocument, encode_key, list_encoder
from couchmodel._wire.declared_views import DECLARATION, ORDER_OPERATORS, declaration_digest

__all__ = ["CompiledView", "DeclaredMapper", "compile_views"]

_Read: TypeAlias = Callable[[dict[str, Any]], Any]
_Test: TypeAlias = Callable[[dict[str, Any]], bool]
_Map: TypeAlias = Callable[[dict[str, Any]], Rows]
_MakeKeys: TypeAlias = Callable[[dict[str, Any]], Sequence[EncodedKey]]

_MISSING: Final = object()
_SAFE: Final = 2**53
_ERROR_MEMBERS: Final = frozenset({"stack", "name", "message"})
"""The members by which CouchDB's query server knows an error, of which it emits two."""


class CompiledView(NamedTuple):
    """A compiled declaration: the function that maps a document, and the names of the members that it reads."""

    map: _Map
    members: frozenset[str]


def compile_views(design: Design) -> list[CompiledView | None]:
    """Return the compiled declaration of each view of a design document; None for a view that is JavaScript only."""
    return [_compile_view(view, design.body["views"][view.name]) for view in design.views]


class DeclaredMapper:
    """The mapper of a design document's declared views. The rows of its other views are empty."""

    def __init__(self, views: Sequence[CompiledView | None]) -> None:
        self._maps = [view.map if view is not None else None for view in views]
        self._members = frozenset[str]().union(*(view.members for view in views if view is not None))
        self._reads_special_members = any(name.startswith("_") for name in self._members)

    def map(self, documents: Sequence[SourceDocument]) -> list[list[Rows]]:
        """Return the rows of each document, for each view of the design document."""
        return [self._rows(decode_stored(self._text(document), self._members)) for document in documents]

    def close(self) -> None:
        """Do nothing: there are no resources to release."""

    def _text(self, document: SourceDocument) -> bytes:
        # The members of most declarations are in the body, which need not be put together with the others.
        return document.text() if self._reads_special_members or document.body is None else document.body

    def _rows(self, document: dict[str, Any]) -> list[Rows]:
        return [map(document) if map is not None else [] for map in self._maps]


def _compile_view(view: View, body: Mapping[str, Any]) -> CompiledView | None:
    declaration = body.get(DECLARATION)
    if not isinstance(declaration, dict) or not isinstance(view.map, str):
        return None
    if declaration.get("digest") != declaration_digest(declaration, view.map):
        return None
    try:
        return _compile(declaration, view.order)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # of a later version


def _compile(declaration: Mapping[str, Any], order: Order) -> CompiledView:
    members: set[str] = set()
    keys = [_reader(path, members) for path in declaration["keys"]]
    each: int | None = declaration["each"]
    if not declaration["list"]:
        make_keys = _encoded(order, _single_key(keys, each))
    elif each is None and all(len(path) == 1 for path in declaration["keys"]):
        make_keys = _members_key([path[0] for path in declaration["keys"]], order)
    else:
        make_keys = _encoded(order, _list_key(keys, each))
    value = None if declaration["value"] is None else _reader(declaration["value"], members)
    read_value = _value_text(value, numbers=declaration["numbers"], linked=declaration["linked"])
    test = _condition(declaration["where"], members)

    def rows(document: dict[str, Any]) -> Rows:
        if not test(document):
            return []
        keys = make_keys(document)
        if not keys:
            return []
        value = read_value(document)
        return [] if value is None else [(key, text, value) for key, text in keys]

    return CompiledView(rows, frozenset(members))


def _reader(path: Sequence[str], members: set[str]) -> _Read:
    """Return the function that reads the member at a path, or ``_MISSING``."""
    first, *rest = map(_require_name, path)
    members.add(first)
    if not rest:
        return lambda document: document.get(first, _MISSING)

    def read(document: dict[str, Any]) -> Any:
        value: Any = document
        for name in (first, *rest):
            if type(value) is not dict or name not in value:
                return _MISSING
            value = value[name]
        return value

    return read


def _require_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(name)
    return name


# --- keys and values


def _encoded(order: Order, make: Callable[[dict[str, Any]], list[Any]]) -> _MakeKeys:
    """Return the function that makes encoded keys of the keys that another one makes."""
    return lambda document: [encode_key(order, key) for key in make(document)]


def _single_key(keys: list[_Read], each: int | None) -> Callable[[dict[str, Any]], list[Any]]:
    (read,) = keys

    def make(document: dict[str, Any]) -> list[Any]:
        key = read(document)
        if each is None:
            return [] if key is _MISSING else [from_javascript(key)]
        return [from_javascript(element) for element in key] if type(key) is list else []

    return make


def _members_key(names: list[str], order: Order) -> _MakeKeys:
    """Return the function that makes a key of members of the document itself, which most keys are made of."""
    encode_list = list_encoder(order, from_javascript)

    def make(document: dict[str, Any]) -> list[EncodedKey]:
        try:
            items = [document[name] for name in names]
        except KeyError:
            return []
        return [encode_list(items)]

    return make


def _list_key(keys: list[_Read], each: int | None) -> Callable[[dict[str, Any]], list[Any]]:
    if each is not None and not 0 <= each < len(keys):
        raise ValueError(each)

    def make(document: dict[str, Any]) -> list[Any]:
        key = [read(document) for read in keys]
        if _MISSING in key:
            return []
        if each is None:
            return [list(map(from_javascript, key))]
        elements = key[each]
        if type(elements) is not list:
            return []
        # So that the other items are converted once, and not for each element.
        key[each] = None
        plain = list(map(from_javascript, key))
        return [[*plain[:each], from_javascript(element), *plain[each + 1 :]] for element in elements]

    return make


def _value_text(value: _Read | None, *, numbers: bool, linked: bool) -> Callable[[dict[str, Any]], bytes | None]:
    """Return the function that makes the JSON text of a value, or None if the document has no row."""
    if value is None:
        return lambda _: b"null"
    read = value

    def text(document: dict[str, Any]) -> bytes | None:
        found = read(document)
        # By exact type, since bool is a subclass of int. Such a number is written alike in both languages.
        if type(found) is int and -_SAFE <= found <= _SAFE:
            return b"%d" % found
        if found is _MISSING or (numbers and not _is_finite(found)):
            return None
        if linked and type(found) is str:
            return javascript_text({"_id": found})
        if type(found) is dict and found.keys() >= _ERROR_MEMBERS:
            return javascript_text({"error": found["name"], "message": found["message"]})
        return javascript_text(found)

    return text


def _is_finite(value: Any) -> bool:
    if type(value) is not int and type(value) is not float:
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


# --- conditions


def _condition(condition: Sequence[Any], members: set[str]) -> _Test:
    """Return the function that tests a document. Raises ValueError for an unknown condition."""
    match condition:
        case ["all", list(parts)]:
            tests = [_condition(part, members) for part in parts]
            return tests[0] if len(tests) == 1 else lambda document: all(test(document) for test in tests)
        case ["any", list(parts)]:
            tests = [_condition(part, members) for part in parts]
            return lambda document: any(test(document) for test in tests)
        case ["not", list(part)]:
            inner = _condition(part, members)
            return lambda document: not inner(document)
        case ["exists", list(path)]:
            read = _reader(path, members)
            return lambda document: read(document) is not _MISSING
        case ["in", [str(name)], list(values)] if all(isinstance(value, str) for value in values):
            members.add(name)
            return _is_text_among(name, frozenset(values))
        case ["in", list(path), list(values)]:
            return _is_among(_reader(path, members), values)
        case [str(sign), list(path), (str() | int() | float()) as operand] if sign in _ORDERS:
            return _compares(_reader(path, members), sign, operand)
        case _:
            raise ValueError(condition)


def _is_text_among(name: str, texts: frozenset[str]) -> _Test:
    """Return the test of a member of the document itself, such as its type, which nearly all views test."""

    def test(document: dict[str, Any]) -> bool:
        value = document.get(name)
        return type(value) is str and value in texts

    return test


def _is_among(read: _Read, values: Iterable[Any]) -> _Test:
    wanted = {_comparable(value) for value in values}

    def test(document: dict[str, Any]) -> bool:
        value = read(document)
        if value is _MISSING or type(value) is list or type(value) is dict:
            return False
        return _comparable(value) in wanted

    return test


def _comparable(value: Any) -> tuple[str, Any]:
    """Return a value so that only equal values of one of JavaScript's types are equal."""
    if value is None or isinstance(value, bool):
        return "constant", value
    return ("text", value) if isinstance(value, str) else ("number", from_javascript(value))


_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = dict(
    zip(ORDER_OPERATORS, (operator.lt, operator.le, operator.gt, operator.ge), strict=True)
)


def _compares(read: _Read, sign: str, operand: Any) -> _Test:
    compare = _ORDERS[sign]
    if isinstance(operand, bool):
        raise TypeError(operand)
    limit = _units(operand) if isinstance(operand, str) else from_javascript(operand)

    def test_text(document: dict[str, Any]) -> bool:
        value = read(document)
        return type(value) is str and compare(_units(value), limit)

    def test_number(document: dict[str, Any]) -> bool:
        value = read(document)
        return _is_finite(value) and compare(from_javascript(value), limit)

    return test_text if isinstance(operand, str) else test_number


def _units(text: str) -> bytes:
    """Return the UTF-16 units of a text, by which JavaScript compares texts."""
    return text.encode("utf-16-be", "surrogatepass")
