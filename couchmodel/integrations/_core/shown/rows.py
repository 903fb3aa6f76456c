"""What clients see of the documents of a list, kept by the text that is stored of each.

To load a document and to write it again takes most of the time of a list. Where the same text is always shown alike,
this is done once for each revision.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

from couchmodel._model.codec.forms import form_of
from couchmodel._model.model import CouchModel
from couchmodel._model.schema.hooks import hooks_of
from couchmodel._model.store.repository import Repository
from couchmodel.integrations._core.shown.documents import show_json

__all__ = ["ShownRows"]

M = TypeVar("M", bound=CouchModel)

KEPT_BYTES: Final = 4 * 1024**2
"""The bytes of texts that are kept of one model: some ten thousand small documents."""

_OWN_MODULES: Final = "couchmodel."
"""The beginning of the names of the modules whose functions in a schema depend on their argument alone."""

_EMPTY_FACTORIES: Final = (list, dict, set, frozenset, tuple)

_OPAQUE: Final = frozenset({"cls", "metadata", "config", "default", "default_factory", "members", "expected"})
"""The keys of a core schema whose values are not schemas."""


class ShownRows(Generic[M]):
    """The texts that clients see of the documents of a model."""

    def __init__(self, model: type[M]) -> None:
        self._model = model
        kinds: set[type[Any]] = {model, *form_of(model).kinds.values()}
        self._is_kept = form_of(model).upgrade is None and all(map(_is_shown_alike, kinds))
        self._made = {kind: _made_names(kind) for kind in kinds}
        self._texts: dict[bytes, bytes] = {}
        self._size = 0

    def texts(self, repository: Repository[M], rows: list[bytes], url: str) -> list[bytes]:
        """Return the texts of documents, given as they are stored. ``url`` is where their list is read.

        Raises DocumentError if one does not fit the model.
        """
        # The repository of a request may be of another model, with fields that it hides, or load documents in its own
        # way.
        if type(repository) is not Repository or repository.model is not self._model:
            return [_show(repository.load(row), url) for row in rows]
        find = self._texts.get
        return [find(row) or self._keep(repository, row, url) for row in rows]

    def _keep(self, repository: Repository[M], row: bytes, url: str) -> bytes:
        document = repository.load(row)
        text = _show(document, url)
        # The text of an attachment has the address at which it is read.
        if self._is_kept and b'"_attachments"' not in row and self._has_all(document):
            self._size += len(row) + len(text)
            if self._size > KEPT_BYTES:
                self._texts.clear()
                self._size = len(row) + len(text)
            self._texts[row] = text
        return text

    def _has_all(self, document: M) -> bool:
        """Return True if no value of a document was made when it was loaded, such as the time."""
        names = self._made.get(type(document))
        return names is not None and names <= document.__pydantic_fields_set__


def _show(document: CouchModel, url: str) -> bytes:
    return show_json(document, f"{url}/{quote(document.id, safe='')}")


def _made_names(model: type[CouchModel]) -> frozenset[str]:
    """Return the names of the fields whose default is made anew each time."""
    return frozenset(
        name
        for name, info in model.__pydantic_fields__.items()
        if info.default_factory not in (None, *_EMPTY_FACTORIES)
    )


def _is_shown_alike(model: type[CouchModel]) -> bool:
    """Return True if a model shows the same text always alike, as far as its schema tells.

    It has no functions of its own, such as validators and computed fields, which may look at the time or the user.
    """
    if hooks_of(model, "after_load") or not model.__pydantic_complete__:
        return False
    schema: Any = model.__pydantic_core_schema__
    return all(map(_is_pure, _schemas(schema))) and not _has_embedded_factories(schema, model)


def _schemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, list | tuple):
        for each in schema:
            yield from _schemas(each)
    if isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            if key not in _OPAQUE:
                yield from _schemas(value)


def _is_pure(schema: Mapping[str, Any]) -> bool:
    if schema.get("computed_fields") or schema.get("custom_init") or schema.get("post_init"):
        return False
    functions = [value for key, value in schema.items() if key not in _OPAQUE and callable(value)]
    return all(str(getattr(each, "__module__", "")).startswith(_OWN_MODULES) for each in functions)


def _has_embedded_factories(schema: Any, model: type[CouchModel]) -> bool:
    """Return True if embedded models make defaults anew: whether one was used is not known of a document."""
    left = [each["default_factory"] for each in _schemas(schema) if "default_factory" in each]
    # An embedded model may have the same factory as a field of the document, so each is taken away once.
    for info in model.__pydantic_fields__.values():
        if info.default_factory in left:
            left.remove(info.default_factory)
    return any(each not in _EMPTY_FACTORIES for each in left)
