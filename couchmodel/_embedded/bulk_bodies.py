"""The body of a ``_bulk_docs``, whose documents are taken apart as they are read where it is large."""

from typing import Any, Final

from couchmodel._embedded.arguments import bad_json, parse_object
from couchmodel._embedded.edits import Edit, parse_document, read_document
from couchmodel._embedded.large_json import Values, cut, first_sign, is_large
from couchmodel._embedded.revision_ids import Term
from couchmodel.errors import ContentTooLargeError, ResponseError

__all__ = ["edit_of", "read_bulk"]

MOST: Final = 500_000
"""Documents of one request; the smallest takes a kilobyte until all of them are written."""

_DOCUMENTS: Final = "docs"


def read_bulk(text: bytes) -> dict[str, Any]:
    """The object of a body. Its documents are values in a small one, and for :func:`edit_of` only in any other.

    Raises BadRequestError where it is none, ContentTooLargeError where it has too many of them.
    """
    if not is_large(text) or first_sign(text) != b"{":
        return parse_object(text)
    body = _Body(text)
    try:
        cut(text, body)
    except ValueError as error:
        raise bad_json(error) from None
    value: dict[str, Any] = body.values.value
    return value


def edit_of(document: Any) -> Edit:
    """A document of a body as a write. Raises ResponseError where it is refused."""
    if isinstance(document, ResponseError):
        raise document
    return document if isinstance(document, Edit) else parse_document(document)


class _Body:
    """The sink that makes writes of the documents, which a large request has too many of to keep them as values.

    Of other members that are large nothing is kept but that they are there: there is no use for any.
    """

    def __init__(self, text: bytes) -> None:
        self.values = Values()
        self._text = text
        self._depth = 0
        self._begins = 0
        self._has_documents = False
        self._count = 0

    def enter(self, name: str | None, sign: bytes, place: int) -> None:
        self._depth += 1
        if self._depth == 2:
            self._has_documents = name == _DOCUMENTS and sign == b"["
        if self._depth == 3:
            self._begins = place
        if self._depth <= 2:
            self.values.enter(name, sign, place)

    def take(self, run: Any) -> None:
        if self._depth == 1:
            self.values.take(run)
        elif self._depth == 2 and self._has_documents:
            self._take([_read(document) for document in run])

    def leave(self, place: int) -> None:
        if self._depth == 3 and self._has_documents:
            self._take([_read_large(self._text[self._begins : place])])
        if self._depth <= 2:
            self.values.leave(place)
        self._depth -= 1

    def _take(self, documents: list[Edit | ResponseError]) -> None:
        self._count += len(documents)
        if self._count > MOST:
            raise ContentTooLargeError(f"a request may have {MOST} documents at most", code="too_large")
        self.values.take(documents)


def _read(document: Any) -> Edit | ResponseError:
    """A document as a write that has no value any more, or what is to be said of it when its turn comes."""
    try:
        edit = parse_document(document)
    except ResponseError as error:
        return error.with_traceback(None)
    edit.content = Term.of(edit.content)
    return edit


def _read_large(text: bytes) -> Edit | ResponseError:
    try:
        return read_document(text)
    except ResponseError as error:
        return error.with_traceback(None)
