"""The delete rules of back links: what happens to the documents that link to a deleted one.

CouchDB has no transactions. So the rules of all documents are looked up before anything is deleted, and the document
itself is deleted last: whatever stops a deletion half-way leaves no link that leads to nothing.
"""

from collections.abc import AsyncIterator, Collection
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, Protocol

from couchmodel._model.query.back_links import BackLink, back_links_of
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.store.hooked import call_verb
from couchmodel.errors import DocumentError

__all__ = ["delete_linked"]

_Key = tuple[tuple[str, ...], str]

_settled: Final[ContextVar[frozenset[_Key]]] = ContextVar("couchmodel_settled", default=frozenset())
"""The documents whose rules have been followed, and that are about to be deleted."""

_SHOWN: Final = 3
"""The ids that an error names."""


class Repository(Protocol):
    """The part of a repository that is needed here."""

    @property
    def path(self) -> tuple[str, ...]: ...
    def find(self, *conditions: Any) -> Any: ...
    def repository_of(self, model: Any) -> Any: ...
    async def get_or_none(self, id: str) -> Any: ...
    async def delete(self, document: Any, /) -> None: ...


async def delete_linked(repository: Repository, model: type[DocumentModel], id: str, rev: str) -> None:
    """Delete the documents that link to a document of a model and are to be deleted with it.

    Deletes nothing if another revision than ``rev`` is stored by now: then the document cannot be deleted either.

    Raises DocumentError, and deletes nothing, if a document links to one of them by a link that refuses deletions.
    """
    first = _Doomed(repository, model, id)
    if first.key in _settled.get() or not any(link.on_delete != "keep" for link in back_links_of(model)):
        return
    doomed = {first.key: first}
    waiting = [first]
    for each in waiting:  # the list grows meanwhile
        async for _, found in each.linking("delete"):
            if found.key not in doomed:
                doomed[found.key] = found
                waiting.append(found)
    for each in waiting:
        await _check_refusals(each, doomed)
    if len(waiting) > 1 and getattr(await repository.get_or_none(id), "rev", None) != rev:
        return
    # The deletions come back here through the repository, or through a ``delete`` of the class.
    token = _settled.set(_settled.get() | doomed.keys())
    try:
        # The document that was found last is deleted first, so each goes after those that link to it. The first one is
        # deleted by the caller.
        for each in waiting[:0:-1]:
            document = await each.repository.get_or_none(each.id)
            if document is not None:  # somebody else may have deleted it
                await call_verb("delete", document, each.repository)
    finally:
        _settled.reset(token)


class _Doomed(NamedTuple):
    """A document that is to be deleted, and its repository."""

    repository: Repository
    model: type[DocumentModel]
    id: str

    @property
    def key(self) -> _Key:
        return self.repository.path, self.id

    async def linking(self, rule: str) -> "AsyncIterator[tuple[BackLink[Any], _Doomed]]":
        """Yield the documents that link to this one by back links of a rule."""
        for link in back_links_of(self.model):
            if link.on_delete == rule:
                repository = self.repository.repository_of(link.model)
                async for document in repository.find(link.link == self.id):
                    yield link, _Doomed(repository, type(document), document.id)


async def _check_refusals(doomed: _Doomed, others: Collection[_Key]) -> None:
    refusing = [found async for found in doomed.linking("refuse") if found[1].key not in others]
    if refusing:
        model, id = doomed.model.__name__, doomed.id
        said = ", ".join(f"{each.model.__name__} {each.id!r}" for _, each in refusing[:_SHOWN])
        more = f" and {len(refusing) - _SHOWN} more" if len(refusing) > _SHOWN else ""
        raise DocumentError(
            f"{model} {id!r} cannot be deleted: {said}{more} link to it ({model}.{refusing[0][0].name})",
            model=model,
            document_id=id,
            errors=[],
        )
