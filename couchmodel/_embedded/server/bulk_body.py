"""The documents of a ``_bulk_docs``, which are taken apart as they are read where there are many.

What is kept of a document then is a tuple of texts and numbers: Python's collector does not look at it, and it takes
a third of the memory that its value would.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final, TypeAlias

from couchmodel._embedded.documents.incoming import Edit, parse_document, read_document
from couchmodel._embedded.json.incremental import Values, cut, first_sign, is_large
from couchmodel._embedded.json.parse import bad_json, parse_object
from couchmodel._embedded.rules.revision_ids import Term
from couchmodel._wire.revisions import Rev
from couchmodel.errors import ContentTooLargeError, ResponseError

__all__ = ["Edits", "edit_of", "read_bulk"]

MOST: Final = 500_000
"""Documents of one request; the smallest takes half a kilobyte until all of them are written."""

_DOCUMENTS: Final = "docs"
_OTHERS: Final = frozenset(("all_or_nothing", "new_edits", "w"))
"""Members that count, beside the documents."""

_Packed: TypeAlias = tuple[str, tuple[Any, ...], bool, bytes, bytes]
"""The fields of a write that has no attachments, its path without the tuples in it, and the bytes of its term."""


def read_bulk(text: bytes) -> dict[str, Any]:
    """The object of a body. Its documents are values in a small one, and for :class:`Edits` only in any other.

    Raises BadRequestError where it is none, ContentTooLargeError where it has too many of them.
    """
    if not is_large(text) or first_sign(text) != b"{":
        return parse_object(text)
    body = _Body(text)
    try:
        cut(text, body)
    except ValueError as error:
        body.values.dissolve()
        raise bad_json(error) from None
    except ContentTooLargeError:
        body.values.dissolve()
        raise
    value: dict[str, Any] = body.values.value
    return value


def edit_of(document: Any) -> Edit:
    """A document of a body as a write. Raises ResponseError where it is refused."""
    match document:
        case ResponseError():
            raise document
        case Edit():
            return document
        case tuple():
            return _unpacked(document)
    return parse_document(document)


class Edits:
    """The documents of a body as writes, those of a large one each made when its turn comes."""

    def __init__(self, documents: list[Any], new_id: Callable[[], str]) -> None:
        """``new_id`` is asked for the ids of those that have none. Raises ResponseError where one is refused."""
        self._writes = [document if isinstance(document, tuple) else edit_of(document) for document in documents]
        self.ids = [_id(write) or new_id() for write in self._writes]

    @property
    def have_attachments(self) -> bool:
        """Whether any of them has some."""
        return any(isinstance(write, Edit) and write.attachments for write in self._writes)

    @property
    def have_revisions(self) -> bool:
        """Whether each of them names one."""
        return all(write[1] if isinstance(write, tuple) else write.path for write in self._writes)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Edit:
        edit = edit_of(self._writes[place])
        edit.id = self.ids[place]
        return edit


def _id(write: Edit | _Packed) -> str:
    return write[0] if isinstance(write, tuple) else write.id


def _packed(edit: Edit) -> Edit | _Packed:
    if edit.attachments:
        return edit
    term = Term.of(edit.content).parts[0]
    return edit.id, tuple(chain.from_iterable(edit.path)), edit.deleted, term, edit.text


def _unpacked(packed: _Packed) -> Edit:
    id, path, deleted, term, text = packed
    return Edit(id, list(map(Rev, path[::2], path[1::2])), deleted, Term((term,)), text)


class _Body:
    """The sink that takes documents apart, and of the other members those that count."""

    def __init__(self, text: bytes) -> None:
        self.values = Values()
        self._text = text
        self._depth = 0
        self._begins = 0
        self._has_documents = False
        self._count = 0
        self._is_refused = False

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        self._depth += 1
        if self._depth == 2:
            self._has_documents = name == _DOCUMENTS and sign == b"["
            if self._has_documents:  # of two members of that name, the last one counts
                self._count, self._is_refused = 0, False
        if self._depth == 3:
            self._begins = place
        if self._depth <= 2:
            self.values.enter(name, sign, place)

    def take(self, run: Any) -> None:
        if self._depth == 1:
            self.values.take({name: value for name, value in run.items() if name in _OTHERS or name == _DOCUMENTS})
        elif self._depth == 2 and self._has_documents:
            self._take(run, _read)

    def leave(self, place: int) -> None:
        if self._depth == 3 and self._has_documents:
            self._take([self._text[self._begins : place]], read_document)
        if self._depth <= 2:
            self.values.leave(place)
        self._depth -= 1

    def _take(self, documents: list[Any], read: Callable[[Any], Edit | _Packed]) -> None:
        """Keep some documents up to the first that is refused, and of that what is to be said when its turn comes."""
        self._count += len(documents)
        if self._count > MOST:
            raise ContentTooLargeError(f"a request may have {MOST} documents at most", code="too_large")
        if not self._is_refused:
            self.values.take([*self._read(documents, read)])

    def _read(
        self, documents: list[Any], read: Callable[[Any], Edit | _Packed]
    ) -> Iterator[Edit | _Packed | ResponseError]:
        try:
            yield from map(read, documents)
        except ResponseError as error:
            self._is_refused = True
            yield error.with_traceback(None)


def _read(document: Any) -> Edit | _Packed:
    return _packed(parse_document(document))
