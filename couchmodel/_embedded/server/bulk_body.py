"""Read the body of a ``_bulk_docs`` request. A large body is parsed document by document.

Of a document in a large body a tuple of bytes and numbers is kept. Python's garbage collector does not traverse such a
tuple, and it takes a third of the memory of the document's value.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final, TypeAlias

from couchmodel._embedded.documents.incoming import Edit, parse_document, read_document
from couchmodel._embedded.json.incremental import Values, first_character, is_large, parse_into
from couchmodel._embedded.json.parse import invalid_json_error, parse_object
from couchmodel._embedded.rules.revision_ids import Term
from couchmodel._wire.revisions import Rev
from couchmodel.errors import ContentTooLargeError, ResponseError

__all__ = ["BulkEdits", "make_edit", "read_bulk"]

MAX_DOCUMENTS: Final = 500_000
"""The most documents of one request. The smallest takes half a kilobyte until all of them are written."""

_DOCUMENTS: Final = "docs"
_OPTIONS: Final = frozenset(("all_or_nothing", "new_edits", "w"))
"""Members of the body that are read beside the documents. Others are dropped."""

_PackedEdit: TypeAlias = tuple[str, tuple[Any, ...], bool, bytes, bytes]
"""An edit without attachments, as a tuple: id, path, deleted, the bytes of its term, text.

The path is flat: the generations and hashes of its revisions in turn.
"""


def read_bulk(text: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    In a small body the documents are values. In a large one they are items that only :class:`Edits` and
    :func:`edit_of` understand.

    Raises BadRequestError if the body is no JSON object, ContentTooLargeError if it has more than MAX_DOCUMENTS.
    """
    if not is_large(text) or first_character(text) != b"{":
        return parse_object(text)
    sink = _BulkSink(text)
    try:
        parse_into(text, sink)
    except ValueError as error:
        # Python would free a large half-parsed value at once, and hold its lock meanwhile.
        sink.values.dissolve()
        raise invalid_json_error(error) from None
    except ContentTooLargeError:
        sink.values.dissolve()
        raise
    value: dict[str, Any] = sink.values.value
    return value


def make_edit(document: Any) -> Edit:
    """Return the edit of a document from :func:`read_bulk`. Raises ResponseError if the document is refused."""
    match document:
        case ResponseError():
            raise document
        case Edit():
            return document
        case tuple():
            return _unpack(document)
    return parse_document(document)


class BulkEdits:
    """A sequence of the edits of a body's documents. Those of a large body are unpacked at each access."""

    def __init__(self, documents: list[Any], new_id: Callable[[], str]) -> None:
        """Create the sequence. ``new_id`` makes the ids of documents that have none.

        Raises ResponseError if a document is refused.
        """
        self._writes = [document if isinstance(document, tuple) else make_edit(document) for document in documents]
        self.ids = [_id(write) or new_id() for write in self._writes]

    @property
    def have_attachments(self) -> bool:
        """True if any document has attachments."""
        return any(isinstance(write, Edit) and write.attachments for write in self._writes)

    @property
    def have_revisions(self) -> bool:
        """True if every document names a revision."""
        return all(write[1] if isinstance(write, tuple) else write.path for write in self._writes)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Edit:
        edit = make_edit(self._writes[place])
        edit.id = self.ids[place]
        return edit


def _id(write: Edit | _PackedEdit) -> str:
    return write[0] if isinstance(write, tuple) else write.id


def _pack(edit: Edit) -> Edit | _PackedEdit:
    if edit.attachments:
        return edit
    term = Term.of(edit.content).parts[0]
    return edit.id, tuple(chain.from_iterable(edit.path)), edit.deleted, term, edit.text


def _unpack(packed: _PackedEdit) -> Edit:
    id, path, deleted, term, text = packed
    return Edit(id, list(map(Rev, path[::2], path[1::2])), deleted, Term((term,)), text)


class _BulkSink:
    """A sink of the incremental parser that keeps the documents as edits, and the members in ``_OPTIONS``.

    Depth 1 is inside the body's object, 2 inside one of its members such as the documents, 3 inside a document that is
    too large for one run of the parser.
    """

    def __init__(self, text: bytes) -> None:
        self.values = Values()
        self._text = text
        self._depth = 0
        self._document_start = 0
        self._has_documents = False
        self._count = 0
        self._is_refused = False

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        self._depth += 1
        if self._depth == 2:
            self._has_documents = name == _DOCUMENTS and sign == b"["
            if self._has_documents:  # if the body has two members of that name, the last one counts
                self._count, self._is_refused = 0, False
        if self._depth == 3:
            self._document_start = place
        if self._depth <= 2:
            self.values.enter(name, sign, place)

    def take(self, run: Any) -> None:
        if self._depth == 1:
            self.values.take({name: value for name, value in run.items() if name in _OPTIONS or name == _DOCUMENTS})
        elif self._depth == 2 and self._has_documents:
            self._take(run, _parse_packed)

    def leave(self, place: int) -> None:
        if self._depth == 3 and self._has_documents:
            self._take([self._text[self._document_start : place]], read_document)
        if self._depth <= 2:
            self.values.leave(place)
        self._depth -= 1

    def _take(self, documents: list[Any], read: Callable[[Any], Edit | _PackedEdit]) -> None:
        """Keep documents as edits up to the first that is refused; keep its error in place of it.

        The error is raised when the document's turn comes. The documents behind it are only counted.
        """
        self._count += len(documents)
        if self._count > MAX_DOCUMENTS:
            raise ContentTooLargeError(f"a request may have {MAX_DOCUMENTS} documents at most", code="too_large")
        if not self._is_refused:
            self.values.take([*self._parse_until_refused(documents, read)])

    def _parse_until_refused(
        self, documents: list[Any], read: Callable[[Any], Edit | _PackedEdit]
    ) -> Iterator[Edit | _PackedEdit | ResponseError]:
        try:
            yield from map(read, documents)
        except ResponseError as error:
            self._is_refused = True
            yield error.with_traceback(None)  # the traceback would keep the frames, and the body in them, alive


def _parse_packed(document: Any) -> Edit | _PackedEdit:
    return _pack(parse_document(document))
