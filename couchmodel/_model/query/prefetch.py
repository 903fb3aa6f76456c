"""Prefetching: the documents that links lead to are fetched with the documents that have the links."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from couchmodel._model.schema.expressions.places import place_of
from couchmodel._model.schema.links.link import Link, LinkExpression
from couchmodel.errors import QueryError

__all__ = ["LinkedSource", "fetch_links", "prefetch", "require_links"]

D = TypeVar("D")

BATCH: Final = 1000
"""The documents whose links are fetched together. They are in memory at the same time."""

Linked = Mapping[tuple[type, str], Any]
"""Documents by the model to which the link leads, and by id."""


class LinkedSource(Protocol):
    """A source of the documents that links lead to."""

    async def linked_documents(self, wanted: Collection[tuple[type, str]]) -> Linked:
        """Return the documents of some models and ids, fetched with one request for each database.

        Those that are missing or deleted are left out.
        """
        ...


class _Field(NamedTuple):
    """A link of a model: the class, the name of the field, and the class to which it leads."""

    owner: type
    name: str
    target: type


def require_links(links: Sequence[Any]) -> tuple[LinkExpression[Any], ...]:
    """Return links of a class. Raises QueryError if one of them is something else."""
    for link in links:
        if not isinstance(link, LinkExpression):
            raise QueryError(f"prefetch() takes links of the class, such as Book.author, not {link!r}")
    return tuple(links)


async def prefetch(
    documents: AsyncGenerator[D, None], model: type, links: Sequence[LinkExpression[Any]], source: LinkedSource
) -> AsyncGenerator[D, None]:
    """Yield documents of a model with the documents that their links lead to.

    A link of a model that an earlier link leads to is fetched for the documents of that one, with a request of its own.
    So there is a request for each level of links, and for each thousand documents. Raises QueryError if a link is of a
    model that none of the others leads to.
    """
    batch: list[D] = []
    async with aclosing(documents):
        async for document in documents:
            batch.append(document)
            if len(batch) == BATCH:
                await fetch_links(batch, model, links, source)
                for each in batch:
                    yield each
                batch = []
    await fetch_links(batch, model, links, source)
    for each in batch:
        yield each


async def fetch_links(
    documents: Sequence[Any], model: type, links: Sequence[LinkExpression[Any]], source: LinkedSource
) -> None:
    """Fetch the documents that links of a model's documents lead to.

    There is a request for each level of links, and for each thousand documents that have them. Raises QueryError if a
    link is of a model that none of the others leads to.
    """
    if not links:
        return
    levels = _levels(model, links)
    for start in range(0, len(documents), BATCH):
        await _fetch_levels(documents[start : start + BATCH], levels, source)


async def _fetch_levels(documents: Sequence[Any], levels: Sequence[Sequence[_Field]], source: LinkedSource) -> None:
    for level in levels:
        found = [(field, link) for field in level for document in documents for link in _links(document, field)]
        # A dictionary, because it keeps the order and has each document once.
        wanted = dict.fromkeys((field.target, link.id) for field, link in found if link.document is None)
        fetched = await source.linked_documents(wanted) if wanted else {}
        for field, link in found:
            if link.document is None and (document := fetched.get((field.target, link.id))) is not None:
                link.note_document(document)
        # By identity: a document that several links lead to is one object, and its links are followed once.
        documents = list({id(link.document): link.document for _, link in found if link.document is not None}.values())


def _levels(model: type, links: Sequence[LinkExpression[Any]]) -> list[list[_Field]]:
    """Return the links in levels: first those of the model itself, then those of the models to which these lead."""
    rest = [_Field(*(place_of(link).owner or (model, "")), link.target.model) for link in links]
    models, levels = {model}, list[list[_Field]]()
    while rest:
        # A link that is given twice is followed twice, as from a person to the boss of the boss.
        level = list(dict.fromkeys(field for field in rest if any(_are_related(field.owner, each) for each in models)))
        if not level:
            field = rest[0]
            raise QueryError(
                f"{field.owner.__name__}.{field.name} cannot be prefetched: no {field.owner.__name__} is among the"
                f" documents of {model.__name__} and the links that are given before it"
            )
        levels.append(level)
        # Only the documents of the last level are at hand for the next one.
        models = {field.target for field in level}
        for field in level:
            rest.remove(field)
    return levels


def _are_related(one: type, other: type) -> bool:
    return issubclass(one, other) or issubclass(other, one)


def _links(document: Any, field: _Field) -> list[Link[Any]]:
    """Return the links of a document in a field; none if the document is of another kind, or if the link is empty."""
    if not isinstance(document, field.owner):
        return []
    value = getattr(document, field.name)
    return [link for link in (value if isinstance(value, list) else [value]) if link]
