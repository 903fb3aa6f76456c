"""Read the body of a ``_bulk_docs`` request. A large body is parsed document by document.

Of a document in a large body a tuple of bytes and numbers is kept. Python's garbage collector does not traverse such a
tuple, and it takes a third of the memory of the document's value.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any, Final, TypeAlias

from couchmodel._embedded import limits
from couchmodel._embedded.documents.incoming import Edit, parse_document, read_document
from couchmodel._embedded.json.cutter import Sink, first_character, is_large, parse_into
from couchmodel._embedded.json.parse import invalid_json_error, parse_object
from couchmodel._embedded.json.values import Skipped, Value, free
from couchmodel._embedded.rules.erlang_binary import Term
from couchmodel._wire.revisions import Rev
from couchmodel.errors import ContentTooLargeError, ResponseError

__all__ = ["BulkEdits", "make_edit", "read_bulk"]

_OPTIONS: Final = ("all_or_nothing", "docs", "new_edits", "w")
"""Members of the body that are read. Others are dropped."""

_PackedEdit: TypeAlias = tuple[str, tuple[Any, ...], bool, bytes, bytes]
"""An edit without attachments, as a tuple: id, path, deleted, the bytes of its term, text.

The path is flat: the generations and hashes of its revisions in turn.
"""


def read_bulk(text: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    In a small body the documents are values. In a large one they are items that only :func:`make_edit` understands.

    Raises BadRequestError if the body is no JSON object, ContentTooLargeError if it has too many documents.
    """
    if not is_large(text) or first_character(text) != b"{":
        return parse_object(text)
    sink = _BulkSink(text)
    try:
        parse_into(text, sink)
    except (ContentTooLargeError, ValueError) as error:
        free(sink.value)
        raise invalid_json_error(error) if isinstance(error, ValueError) else error from None
    body: dict[str, Any] = sink.value
    return body


def make_edit(document: Any) -> Edit:
    """Return the edit of a document from :func:`read_bulk`. Raises ResponseError if the document is refused."""
    match document:
        case ResponseError():
            raise document
        case Edit():
            return document
        case tuple():
            id, path, deleted, term, text = document
            return Edit(id, list(map(Rev, path[::2], path[1::2])), deleted, Term((term,)), text)
    return parse_document(document)


class BulkEdits:
    """A sequence of the edits of a body's documents. Those of a large body are unpacked at each access."""

    def __init__(self, documents: list[Any], new_id: Callable[[], str]) -> None:
        """Create the sequence, in which ``documents`` become edits. ``new_id`` makes the ids of those that have none.

        Raises ResponseError if a document is refused.
        """
        self._edits = documents
        self.ids: list[str] = []
        self.have_attachments = False
        """True if any document has attachments."""
        self.have_revisions = True
        """True if every document names a revision."""
        for place, document in enumerate(documents):
            if isinstance(document, tuple):
                # Not unpacked to an edit: there may be hundreds of thousands, and only one is needed at a time.
                id, path = document[:2]
            else:
                # In place of the document, whose value is not needed any more.
                edit = documents[place] = make_edit(document)
                id, path = edit.id, edit.path
                self.have_attachments = self.have_attachments or bool(edit.attachments)
            self.ids.append(id or new_id())
            self.have_revisions = self.have_revisions and bool(path)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Edit:
        edit = make_edit(self._edits[place])
        edit.id = self.ids[place]
        return edit


class _BulkSink(Value):
    """The sink of a body. It keeps the documents as edits, and the other members in ``_OPTIONS`` as values."""

    def __init__(self, text: bytes) -> None:
        super().__init__(b"{", names=_OPTIONS)
        self._text = text

    def enter(self, name: str | None, sign: bytes, place: int) -> Sink:
        if name != "docs" or sign != b"[":
            return super().enter(name, sign, place)
        free(self.value.get(name))  # if the body has two members of that name, the last one counts
        documents = _DocumentsSink(self._text)
        self.value[name] = documents.edits
        return documents


class _DocumentsSink:
    """The sink of the documents of a body, which become ``edits`` up to the first that is refused.

    The error of that one takes its place, to be raised when its turn comes. The documents behind it are only counted.
    """

    def __init__(self, text: bytes) -> None:
        self.edits: list[Edit | _PackedEdit | ResponseError] = []
        self._text = text
        self._count = 0
        self._is_refused = False

    def take(self, run: list[Any]) -> None:
        self._read(run, _parse_packed)

    def enter(self, name: str | None, sign: bytes, place: int) -> Sink:
        # A large document is read when its end is known.
        return Skipped(lambda end: self._read([self._text[place:end]], read_document))

    def close(self, place: int) -> None:
        pass

    def _read(self, documents: list[Any], read: Callable[[Any], Edit | _PackedEdit]) -> None:
        self._count += len(documents)
        if self._count > limits.BULK_DOCUMENTS:
            reason = f"a request may have {limits.BULK_DOCUMENTS} documents at most"
            raise ContentTooLargeError(reason, code="too_large")
        if self._is_refused:
            return
        try:
            self.edits.extend(map(read, documents))
        except ResponseError as error:
            self._is_refused = True
            # The traceback would keep the frames, and the body in them, alive.
            self.edits.append(error.with_traceback(None))


def _parse_packed(document: Any) -> Edit | _PackedEdit:
    edit = parse_document(document)
    if edit.attachments:
        return edit
    return edit.id, tuple(chain.from_iterable(edit.path)), edit.deleted, Term.of(edit.content).parts[0], edit.text
