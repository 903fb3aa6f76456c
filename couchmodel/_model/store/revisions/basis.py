"""The stored revision that a document belongs to."""

from typing import NamedTuple, Self

from couchmodel._model.attachments.stubs import set_stubs, stored_stubs
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel

__all__ = ["Basis"]


class Basis(NamedTuple):
    """The stored revision that a document belongs to. Without arguments it is that of a document that is not stored."""

    rev: str | None = None
    body: bytes | None = None

    @classmethod
    def of(cls, document: DocumentModel) -> Self:
        """Return the basis of a document."""
        return cls(document.rev, state.stored_body(document))

    def give_to(self, document: DocumentModel) -> None:
        """Let a document belong to this revision. Its values stay."""
        state.set_rev(document, self.rev)
        state.set_stored_body(document, self.body)
        set_stubs(document, stored_stubs(document))
