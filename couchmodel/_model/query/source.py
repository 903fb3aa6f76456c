"""The part of a repository that queries know."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

from couchmodel._model.query.changes import DocumentStore
from couchmodel._model.query.prefetch import LinkedSource
from couchmodel.types import JSONObject

__all__ = ["DocumentSource"]


class DocumentSource(DocumentStore, LinkedSource, Protocol):
    """A source of documents that answers queries: the repository of a model."""

    model: Any

    @property
    def kind(self) -> JSONObject:
        """The selector of the source's own documents among others; empty if there are no others."""
        ...

    def load(self, row: bytes) -> Any:
        """Return the document of a JSON text. Raises DocumentError if it does not fit the model."""
        ...

    def rows(
        self, body: JSONObject, limit: int | None, on_end: Callable[[JSONObject], None] | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the documents that a body of ``_find`` asks for, all or at most ``limit``, as JSON texts in batches."""
        ...

    async def explain(self, body: JSONObject) -> JSONObject:
        """Return the answer of ``_explain``."""
        ...
