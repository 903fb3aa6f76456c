"""Mappers: they make the rows of an index from documents.

A mapper is used by one thread at a time. The mapper for ``language: query`` needs no JavaScript.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from couchmodel._embedded.budget import Budget
from couchmodel._embedded.javascript import engine as scripts
from couchmodel._embedded.javascript.engine import Scripts
from couchmodel._embedded.json.values import decode_stored
from couchmodel._embedded.mango.paths import PathError, get_path, parse_path
from couchmodel._embedded.mango.selector import Selector, compile_selector
from couchmodel._embedded.views.declared import CompiledView, DeclaredMapper, compile_views
from couchmodel._embedded.views.designs import JAVASCRIPT, QUERY, Design, View
from couchmodel._embedded.views.emitted import Order, Rows, SourceDocument, encode_key
from couchmodel.errors import BadRequestError, ServerError

__all__ = ["FieldsMapper", "Mapper", "open_mapper"]


class Mapper(Protocol):
    """A maker of rows from documents, for all views of a design document."""

    def map(self, documents: Sequence[SourceDocument]) -> list[list[Rows]]:
        """Return the rows of each document, for each view of the design document. Raises ResponseError."""
        ...

    def close(self) -> None:
        """Release the resources of the mapper."""
        ...


def open_mapper(design: Design, functions: Scripts | None = None) -> Mapper:
    """Return the mapper for a design document.

    ``functions`` are the JavaScript contexts of the database. Without them, the mapper runs in processes of its own.

    Raises:
        ServerError: the language is unknown, or a selector is invalid.
        ResponseError: a function does not compile.
        UnsupportedError: the mapper needs the extra ``js``.
    """
    opener = _LANGUAGES.get(design.language)
    if opener is None:
        raise ServerError(design.language, code="unknown_query_language")
    return opener(design, functions)


class FieldsMapper:
    """The mapper of Mango indexes.

    It emits the values of the indexed fields, for documents that have all fields and match the partial filter selector.
    """

    def __init__(self, design: Design) -> None:
        """Compile the indexes. Raises ServerError for an invalid selector or path."""
        self._views = [(_compile_index(view.map), view.order) for view in design.views]
        indexes = [index for index, _ in self._views if index]
        read = [selector.members for _, selector in indexes if selector]
        names = frozenset(path[0] for paths, _ in indexes for path in paths)
        # None reads every member. Otherwise a large document is parsed only as far as the indexes need it.
        self._members = None if None in read else names.union(*filter(None, read))

    def map(self, documents: Sequence[SourceDocument]) -> list[list[Rows]]:
        """Return the rows of each document, for each view of the design document."""
        # As much time as it takes: a builder maps on a thread, and a regular expression has its limit.
        budget = Budget()
        return [self._rows(decode_stored(document.text(), self._members), budget) for document in documents]

    def close(self) -> None:
        """Do nothing: there are no resources to release."""

    def _rows(self, document: dict[str, Any], budget: Budget) -> list[Rows]:
        return [_index_rows(index, order, document, budget) if index else [] for index, order in self._views]


_CompiledIndex: TypeAlias = tuple[list[tuple[str, ...]], Selector | None]


def _compile_index(definition: Mapping[str, Any]) -> _CompiledIndex | None:
    """Return the paths and the selector of a view, or None if it does not define an index. Such a view has no rows.

    Raises ServerError for an invalid selector or path.
    """
    fields = definition.get("fields") if isinstance(definition, dict) else None
    if not isinstance(fields, dict):
        return None
    filter = definition.get("partial_filter_selector") or definition.get("selector")
    try:
        return [parse_path(field) for field in fields], compile_selector(filter) if filter else None
    except BadRequestError as error:
        # This is not the fault of the request, which may be for another view of the design document.
        raise ServerError(error.reason, code=error.code) from error


def _index_rows(index: _CompiledIndex, order: Order, document: dict[str, Any], budget: Budget) -> Rows:
    """Return the row of a document in one index, or no row if the index does not cover it."""
    paths, selector = index
    values = [get_path(document, path) for path in paths]
    # An index holds a document only if it has every field of the index, so a query may use it only for such documents.
    if any(isinstance(value, PathError) for value in values):
        return []
    if selector is not None and not selector.matches(document, budget):
        return []
    return [(*encode_key(order, values), b"null")]


def _open_fields(design: Design, _functions: Scripts | None) -> Mapper:
    return FieldsMapper(design)


def _open_script(design: Design, functions: Scripts | None) -> Mapper:
    declared = compile_views(design)
    if None not in declared:
        return DeclaredMapper(declared)
    if not any(declared):
        return _ScriptMapper(design, design.views, functions)
    return _MixedMapper(design, declared, functions)


class _ScriptMapper:
    """The mapper of views that run their JavaScript."""

    def __init__(self, design: Design, views: Sequence[View], functions: Scripts | None) -> None:
        """Raise as ``open_mapper`` does."""
        names = {"lib", *(view.name for view in views)}
        rest = {name: view for name, view in design.body["views"].items() if name in names}
        self._orders = [view.order for view in views]
        self._scripts = scripts.open_mapper({**design.body, "views": rest}, functions)

    def map(self, documents: Sequence[SourceDocument]) -> list[list[Rows]]:
        """Return the rows of each document, for each of the views. Raises ResponseError."""
        return [
            [
                [(*encode_key(order, key), value) for key, value in rows]
                for order, rows in zip(self._orders, views, strict=True)
            ]
            for views in self._scripts.map([document.text() for document in documents])
        ]

    def close(self) -> None:
        """Release the processes of the functions."""
        self._scripts.close()


class _MixedMapper:
    """The mapper of a design document with declared views and others. Only the others run their JavaScript."""

    def __init__(self, design: Design, declared: Sequence[CompiledView | None], functions: Scripts | None) -> None:
        """Raise as ``open_mapper`` does."""
        others = [view for view, compiled in zip(design.views, declared, strict=True) if compiled is None]
        self._places = [view.place for view in others]
        self._declared = DeclaredMapper(declared)
        self._scripts = _ScriptMapper(design, others, functions)

    def map(self, documents: Sequence[SourceDocument]) -> list[list[Rows]]:
        """Return the rows of each document, for each view of the design document. Raises ResponseError."""
        mapped = self._declared.map(documents)
        for rows, scripted in zip(mapped, self._scripts.map(documents), strict=True):
            for place, found in zip(self._places, scripted, strict=True):
                rows[place] = found
        return mapped

    def close(self) -> None:
        """Release the processes of the functions."""
        self._scripts.close()


_LANGUAGES: Final[dict[str, Callable[[Design, Scripts | None], Mapper]]] = {
    QUERY: _open_fields,
    JAVASCRIPT: _open_script,
}
"""The opener of a mapper for each language."""
