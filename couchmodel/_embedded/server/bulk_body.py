"""Read the body of a ``_bulk_docs`` request. A large body is parsed document by document.

Of a document in a large body a tuple of bytes and numbers is kept. Python's garbage collector does not traverse such a
tuple, and it takes a third of the memory of the document's value.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final, TypeAlias

from couchmodel._embedded import limits
from couchmodel._embedded.documents.incoming import Edit, parse_document, read_document
from couchmodel._embedded.json.cutter import first_character, is_large, parse_into
from couchmodel._embedded.json.parse import invalid_json_error, parse_object
from couchmodel._embedded.json.values import free
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
        free(sink.members)
        raise invalid_json_error(error) if isinstance(error, ValueError) else error from None
    return sink.members


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


class _BulkSink:
    """A sink that keeps the documents as edits, and the members in ``_OPTIONS``.

    Depth 1 is inside the body's object, 2 inside one of its members such as the documents, 3 inside a document that is
    too large for one run of the parser.
    """

    def __init__(self, text: bytes) -> None:
        self.members: dict[str, Any] = {}
        self._text = text
        self._depth = 0
        self._document_start = 0
        self._documents: list[Any] | None = None
        self._count = 0
        self._is_refused = False

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        self._depth += 1
        if self._depth == 2:
            self._documents = None
            if name == "docs" and sign == b"[":  # if the body has two members of that name, the last one counts
                free(self.members.get("docs"))
                self._documents, self._count, self._is_refused = [], 0, False
            if name in _OPTIONS:
                self.members[name] = self._documents
        if self._depth == 3:
            self._document_start = place

    def take(self, run: Any) -> None:
        if self._depth == 1:
            self.members.update((name, value) for name, value in run.items() if name in _OPTIONS)
        elif self._depth == 2 and self._documents is not None:
            self._take(run, _parse_packed)

    def leave(self, place: int) -> None:
        if self._depth == 3 and self._documents is not None:
            self._take([self._text[self._document_start : place]], read_document)
        self._depth -= 1

    def _take(self, documents: list[Any], read: Callable[[Any], Edit | _PackedEdit]) -> None:
        """Append documents as edits up to the first that is refused, and the error of that one.

        The error is raised when the document's turn comes. The documents behind it are only counted.
        """
        self._count += len(documents)
        if self._count > limits.BULK_DOCUMENTS:
            reason = f"a request may have {limits.BULK_DOCUMENTS} documents at most"
            raise ContentTooLargeError(reason, code="too_large")
        if self._documents is not None and not self._is_refused:
            self._documents += self._parse_until_refused(documents, read)

    def _parse_until_refused(
        self, documents: list[Any], read: Callable[[Any], Edit | _PackedEdit]
    ) -> Iterator[Edit | _PackedEdit | ResponseError]:
        try:
            yield from map(read, documents)
        except ResponseError as error:
            self._is_refused = True
            yield error.with_traceback(None)  # the traceback would keep the frames, and the body in them, alive


def _parse_packed(document: Any) -> Edit | _PackedEdit:
    edit = parse_document(document)
    if edit.attachments:
        return edit
    return edit.id, tuple(chain.from_iterable(edit.path)), edit.deleted, Term.of(edit.content).parts[0], edit.text
