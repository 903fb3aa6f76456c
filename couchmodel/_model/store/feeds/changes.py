"""The changes of the documents of a model, in the order in which they happened."""

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Protocol, Self, TypeVar, get_args

from couchmodel._model.codec import codec
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.members.tombstones import REMARKS_MEMBER
from couchmodel._wire.messages import encode
from couchmodel.engine import Database
from couchmodel.engine.change_events import BaseChangeEvent
from couchmodel.errors import DocumentError, NotFoundError, QueryError
from couchmodel.types import JSONObject

__all__ = ["Change", "ChangeFeed", "OnInvalid", "check_on_invalid", "load_deleted", "open_feed"]

M = TypeVar("M", bound=DocumentModel)
M_co = TypeVar("M_co", bound=DocumentModel, covariant=True)

OnInvalid = Literal["raise", "skip"]

_log: Final = logging.getLogger("couchmodel.changes")


class ChangeSource(Protocol):
    """The part of a repository that is needed here."""

    @property
    def model(self) -> Any: ...
    @property
    def database(self) -> Database: ...
    def load(self, row: bytes) -> Any: ...


@dataclass(frozen=True, slots=True)
class Change(Generic[M_co]):
    """A change of a document: that it was created, changed or deleted.

    ``document`` is the document as it is stored now. If it is deleted, ``document`` is None, or what the tombstone of a
    :class:`SoftDelete` has kept. ``rev`` is the revision of the change, and ``seq`` is its sequence, from which another
    feed goes on.
    """

    id: str
    rev: str
    seq: str
    deleted: bool
    document: M_co | None


class ChangeFeed(AsyncIterator[Change[M]]):
    """The changes of the documents of a model. Creating it sends nothing.

    A connection that is lost is opened again, and every change is given at least once. A wait can be cancelled, and the
    next one goes on. If you leave a feed before its end, close it, best with :func:`contextlib.aclosing`.
    """

    def __init__(
        self,
        source: ChangeSource,
        params: JSONObject,
        on_invalid: OnInvalid,
        explain: Callable[[NotFoundError], NotFoundError],
    ) -> None:
        self._source = source
        self._feed = source.database.changes(include_docs=True, **params)
        self._on_invalid = on_invalid
        self._explain = explain

    def __repr__(self) -> str:
        return f"<changes of {self._source.model.__name__} since {self.last_seq or 0}>"

    @property
    def last_seq(self) -> str | None:
        """The sequence to go on from: that of the last change, or at the end of the feed that of the database."""
        return self._feed.last_seq

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change[M]:
        """Return the next change.

        Raises DocumentError for a document that does not fit the model, and goes on behind it the next time;
        NotFoundError if the database is missing, or is deleted; TransportError if the server stays out of reach.
        """
        try:
            async for event in self._feed:
                # A model without a type takes every document for its own, so the selector of its feed lets design
                # documents through.
                if event.id.startswith("_design/"):
                    continue
                try:
                    return self._read(event)
                except DocumentError as error:
                    if self._on_invalid == "raise":
                        raise
                    _log.warning("a change of %s is skipped: %s", self._source.model.__name__, error)
        except NotFoundError as error:
            raise self._explain(error) from None
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the feed and close its connection. Closing twice is harmless."""
        await self._feed.aclose()

    def _read(self, event: BaseChangeEvent) -> Change[M]:
        deleted = bool(event.get("deleted"))
        stored = event.get("doc")
        if deleted:
            document = load_deleted(self._source, stored or {})
        elif stored is not None:
            document = self._source.load(encode(stored))
        else:
            raise self._unreadable(event.id)
        return Change(event.id, event.rev, str(event.sequence), deleted, document)

    def _unreadable(self, id: str) -> DocumentError:
        model = self._source.model.__name__
        return DocumentError(
            f"{model} {id!r} cannot be read from the feed: it is nested too deeply, or was removed meanwhile",
            model=model,
            document_id=id,
            errors=[],
        )


def load_deleted(source: ChangeSource, stored: JSONObject) -> Any:
    """Return the document that a tombstone has kept, as one that is not stored; None if it has kept none.

    Raises DocumentError if it does not fit the model.
    """
    if REMARKS_MEMBER not in stored:
        return None
    # The model would read the remarks as a member that it does not know, and store it again.
    kept = {name: value for name, value in stored.items() if name not in ("_deleted", REMARKS_MEMBER)}
    document = source.load(encode(kept))
    codec.note_deleted(document)
    return document


def open_feed(
    source: ChangeSource,
    selector: JSONObject,
    *,
    since: str,
    live: bool,
    on_invalid: OnInvalid,
    explain: Callable[[NotFoundError], NotFoundError],
) -> ChangeFeed[Any]:
    """Return the feed of the documents that match a selector. Raises QueryError for a ``since`` that is no text."""
    if not isinstance(since, str) or not since:
        raise QueryError(f"since is the sequence of a change, as in since=change.seq, or '0' or 'now', not {since!r}")
    check_on_invalid(on_invalid)
    params: JSONObject = {"since": since, "feed": "continuous" if live else "normal"}
    if selector:
        params["selector"] = selector
    return ChangeFeed(source, params, on_invalid, explain)


def check_on_invalid(on_invalid: object) -> None:
    """Raise QueryError for another value than those of ``OnInvalid``."""
    if on_invalid not in get_args(OnInvalid):
        raise QueryError(f"on_invalid is 'raise' or 'skip', not {on_invalid!r}")
