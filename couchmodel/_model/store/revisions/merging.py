"""Merges of several versions of a document, by the policies of its fields."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Final, NamedTuple, Protocol

from couchmodel._model.attachments.versions import VersionAttachment, attachments_of, merge_attachments
from couchmodel._model.codec.three_way import UNKNOWN, merge_documents
from couchmodel._model.store.revisions.history import History, read_revisions
from couchmodel._wire.messages import encode
from couchmodel.engine import Database
from couchmodel.errors import DocumentError
from couchmodel.types import JSONObject

__all__ = ["Merge", "VersionSource", "load_version", "merge_versions"]


class VersionSource(Protocol):
    """A repository."""

    model: Any
    database: Database

    def load(self, row: bytes) -> Any: ...


class Merge(NamedTuple):
    """Versions merged into a document of the first one, the paths of the fields that clash, and the last base."""

    document: Any
    clashes: set[str]
    base: Any
    attachments: Mapping[str, VersionAttachment]


def load_version(source: VersionSource, version: JSONObject) -> Any:
    """Return the document of a version. Raises DocumentError, which names the version, if it does not fit."""
    try:
        return source.load(encode({name: value for name, value in version.items() if name != "_revisions"}))
    except DocumentError as error:
        message = f"{error}\n  This is the version {version['_rev']}."
        named = DocumentError(message, model=error.model, document_id=error.document_id, errors=error.errors)
        named.is_stored = True
        raise named from None


async def merge_versions(
    source: VersionSource, history: History, revs: Sequence[str], bases: Mapping[str, JSONObject]
) -> Merge:
    """Merge the leaves ``revs`` into the first of them, in the order of their ids.

    ``bases`` are revisions whose content the caller knows: the store may have compacted it away.

    The base of each merge is what both sides hold. A field clashes if both have changed it and it has no policy, or if
    the store does not have the base any more.
    """
    # All programs that merge these versions have to merge them in one order, so that they write the same revision.
    revs = [revs[0], *sorted(revs[1:])]
    known = {**bases, **{rev: history[rev] for rev in revs}}
    missing = _bases(history, revs) - known.keys()
    known |= await read_revisions(source.database, known[revs[0]]["_id"], sorted(missing))
    return _Versions(source, history, known).merge(revs)


_GONE: Final[JSONObject] = {"_deleted": True}


def _bases(history: History, revs: Sequence[str]) -> set[str]:
    """Return the revisions that are bases of the merge of others, and the bases of their own merges."""
    needed, steps = set[str](), [list(revs)]
    while steps:
        for _, base in _fold(history, steps.pop()):
            # Both sides may hold several versions that no other one of them holds: then the base is the merge of these.
            if len(base) > 1:
                steps.append(base)
            needed.update(base)
    return needed


def _fold(history: History, revs: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the steps of a merge: each further revision, with the latest ones that it and the merge so far hold."""
    first, *others = revs
    held, steps = history.held_by(first), []
    for each in others:
        theirs = history.held_by(each)
        steps.append((each, history.latest(held & theirs)))
        held |= theirs
    return steps


class _Versions:
    """The content of the versions of one document."""

    def __init__(self, source: VersionSource, history: History, known: dict[str, JSONObject]) -> None:
        self._source = source
        self._history = history
        self._known = known

    def merge(self, revs: list[str]) -> Merge:
        """Merge revisions into the first one."""
        first = self._known[revs[0]]
        merged = Merge(load_version(self._source, first), set(), UNKNOWN, attachments_of(first))
        return reduce(lambda so_far, step: self._add(so_far, *step), _fold(self._history, revs), merged)

    def _add(self, merged: Merge, rev: str, bases: list[str]) -> Merge:
        document, version, common = merged.document, self._known[rev], self._base(bases)
        base = UNKNOWN if common is None else common.document
        values, extra, clashes = merge_documents(base, load_version(self._source, version), document)
        vars(document).update(values)
        object.__setattr__(document, "__pydantic_extra__", extra)
        attachments, others = merge_attachments(
            type(document), common and common.attachments, merged.attachments, attachments_of(version)
        )
        return Merge(document, merged.clashes | clashes | others, base, attachments)

    def _base(self, revs: list[str]) -> Merge | None:
        """Return the merge of the revisions that both sides hold; None if the store does not have it.

        Mostly there is one revision, their common ancestor.
        """
        # A revision that was compacted away is not in the answer.
        if not revs or any(self._known.get(rev, _GONE).get("_deleted") for rev in revs):
            return None
        return self.merge(revs)
