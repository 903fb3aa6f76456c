"""Fetching the documents that links lead to, many with one request."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

from couchmodel._model.store.bulk.results import document_bodies

__all__ = ["fetch_linked"]


async def fetch_linked(
    wanted: Collection[tuple[type, str]], repository_of: Callable[[Any], Any]
) -> Mapping[tuple[type, str], Any]:
    """Return the documents of some models and ids, fetched with one request for each database and thousand of them.

    ``repository_of`` returns the repository of a model. Documents that are missing or deleted are left out. Raises
    DocumentError if one does not fit its model.
    """
    repositories = {model: repository_of(model) for model, _ in wanted}
    by_database: defaultdict[tuple[str, ...], dict[str, list[type]]] = defaultdict(dict)
    for model, id in wanted:
        # Links of several models may lead to one id. It is fetched once, and loaded by each of them.
        by_database[repositories[model].path].setdefault(id, []).append(model)
    found: dict[tuple[type, str], Any] = {}
    for models in by_database.values():
        database = repositories[next(iter(models.values()))[0]].database
        # _all_docs has a row for each key, also for a missing one, in the order of the keys.
        ids = iter(models)
        async for text in document_bodies(database, list(models)):
            id = next(ids)
            for model in models[id] if text is not None else ():
                found[model, id] = repositories[model].load(text)
    return found
