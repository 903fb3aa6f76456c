"""Fetching the documents that links lead to, many with one request."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

from couchmodel._model.codec import codec
from couchmodel._wire.messages import Request, decode, encode
from couchmodel.engine._io.rows import Rows, document_text

__all__ = ["fetch_linked"]


async def fetch_linked(
    wanted: Collection[tuple[type, str]], repository_of: Callable[[Any], Any]
) -> Mapping[tuple[type, str], Any]:
    """Return the documents of some models and ids, fetched by ``_all_docs`` with one request for each database.

    ``repository_of`` returns the repository of a model. Documents that are missing or deleted are left out. Raises
    DocumentError if one does not fit its model.
    """
    repositories = {model: repository_of(model) for model, _ in wanted}
    by_database: defaultdict[tuple[str, ...], dict[str, list[type]]] = defaultdict(dict)
    for model, id in wanted:
        by_database[repositories[model].path].setdefault(id, []).append(model)
    found: dict[tuple[type, str], Any] = {}
    for path, models in by_database.items():
        session = repositories[next(iter(models.values()))[0]].session
        request = Request("POST", (*path, "_all_docs"), {"include_docs": "true"}, body=encode({"keys": list(models)}))
        async for batch in Rows(session, request).batches():
            for row in batch:
                text = document_text(row)
                if text is not None:
                    id = decode(row)["id"]
                    for model in models[id]:
                        found[model, id] = codec.load(model, text, repositories[model])
    return found
