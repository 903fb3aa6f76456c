"""Mappers: what makes the rows of an index from documents.

A mapper is used by one thread at a time. The one of ``language: query`` needs no JavaScript.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from couchmodel._embedded.javascript import engine as scripts
from couchmodel._embedded.javascript.engine import Scripts
from couchmodel._embedded.json.incremental import decode_stored
from couchmodel._embedded.mango.selector import Absent, Selector, compile_selector, get_path, parse_path
from couchmodel._embedded.views.designs import JAVASCRIPT, QUERY, Design
from couchmodel.errors import BadRequestError, ServerError

__all__ = ["FieldsMapper", "Mapper", "Rows", "open_mapper"]

Rows: TypeAlias = list[tuple[Any, bytes]]
"""What a document gives a view: keys, and values as JSON."""


class Mapper(Protocol):
    """Makes rows of documents."""

    def map(self, documents: Sequence[bytes]) -> list[list[Rows]]:
        """The rows of each document, which is JSON, for each view of the design document."""
        ...

    def close(self) -> None:
        """Let go of what the mapper holds."""
        ...


def open_mapper(design: Design, functions: Scripts | None = None) -> Mapper:
    """The mapper for a design document. Its functions run among those of a database, or else by themselves.

    Raises:
        ServerError: its language is not known, or a selector makes no sense.
        ResponseError: a function does not compile.
        UnsupportedError: it takes the extra ``js``.
    """
    opener = _LANGUAGES.get(design.language)
    if opener is None:
        raise ServerError(design.language, code="unknown_query_language")
    return opener(design, functions)


class FieldsMapper:
    """Emits the values of some fields, of documents that have all of them and that a selector matches."""

    def __init__(self, design: Design) -> None:
        """Raises BadRequestError for a selector or a path that makes no sense."""
        self._views = [_fields(view.map) for view in design.views]

    def map(self, documents: Sequence[bytes]) -> list[list[Rows]]:
        """The rows of each document, for each view of the design document."""
        return [self._rows(decode_stored(document, self._members)) for document in documents]

    def close(self) -> None:
        """There is nothing to let go of."""

    def _members(self) -> frozenset[str] | None:
        """The members of a document that there are paths to; None where a selector may look into any."""
        names = [path[0] for paths, _ in filter(None, self._views) for path in paths]
        asked = [selector.members() for _, selector in filter(None, self._views) if selector]
        return None if None in asked else frozenset(names).union(*filter(None, asked))

    def _rows(self, document: dict[str, Any]) -> list[Rows]:
        return [_entries(view, document) if view else [] for view in self._views]


_Fields: TypeAlias = tuple[list[tuple[str, ...]], Selector | None]


def _fields(definition: Mapping[str, Any]) -> _Fields | None:
    """The paths and the selector of a view; None where it is no index, which is empty then."""
    fields = definition.get("fields") if isinstance(definition, dict) else None
    if not isinstance(fields, dict):
        return None
    filter = definition.get("partial_filter_selector") or definition.get("selector")
    try:
        return [parse_path(field) for field in fields], compile_selector(filter) if filter else None
    except BadRequestError as error:
        # The request is not to blame, which may be for another view of the design document.
        raise ServerError(error.reason, code=error.code) from error


def _entries(view: _Fields, document: dict[str, Any]) -> Rows:
    paths, selector = view
    values = [get_path(document, path) for path in paths]
    if any(isinstance(value, Absent) for value in values):
        return []
    if selector is not None and not selector.matches(document):
        return []
    return [(values, b"null")]


def _open_fields(design: Design, _functions: Scripts | None) -> Mapper:
    return FieldsMapper(design)


def _open_script(design: Design, functions: Scripts | None) -> Mapper:
    return scripts.open_mapper(design.body, functions)


_LANGUAGES: Final[dict[str, Callable[[Design, Scripts | None], Mapper]]] = {
    QUERY: _open_fields,
    JAVASCRIPT: _open_script,
}
