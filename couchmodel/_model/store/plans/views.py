"""Plans for the views of models: the design documents that store them.

The name of a design document has a digest of its views. So another version of a program has another one, and neither
deletes the other's. Views are built when they are stored, before any program asks for them.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from functools import partial

from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.store.plans.steps import Step, wait_until_built
from couchmodel._model.views.definition import VIEW_DESIGNS, design_documents
from couchmodel._wire.messages import Request, document_path, encode
from couchmodel.engine import Database
from couchmodel.errors import NotFoundError, UnsupportedError
from couchmodel.types import JSONObject

__all__ = ["plan_view_pruning", "plan_views"]


async def plan_views(model: type[DocumentModel], database: Database, *, exists: bool) -> AsyncIterator[Step]:
    """Yield the steps that store the views of a model. ``exists`` says that the database is there."""
    for name, body in design_documents(model).items():
        stored = await _read(database, name) if exists else None
        if stored is not None and {key: stored.get(key) for key in body} == body:
            continue
        views = ", ".join(map(repr, body["views"]))
        verb = "store" if stored is None else "restore"
        rev = {} if stored is None else {"_rev": stored["_rev"]}
        write = partial(_write, database, name, {**rev, **body})
        yield Step(f"{verb} the views {views} of {model.__name__}", write)


async def plan_view_pruning(models: Iterable[type[DocumentModel]], database: Database) -> AsyncIterator[Step]:
    """Yield the steps that delete the design documents of views that none of the models declares any more."""
    declared = {name for model in models for name in design_documents(model)}
    # "." follows "-" in ASCII, so the range has all ids with this prefix and no others.
    params = {"startkey": '"_design/couchmodel-"', "endkey": '"_design/couchmodel."'}
    answer = await database.session.get((*database.path, "_all_docs"), params)
    for row in answer["rows"]:
        name = row["id"].removeprefix("_design/")
        if VIEW_DESIGNS in name and name not in declared:
            request = Request("DELETE", _path(database, name), {"rev": row["value"]["rev"]})
            yield Step(f"delete the views in {name!r}", partial(database.session.send, request))


def _path(database: Database, name: str) -> tuple[str, ...]:
    return document_path(database.path, f"_design/{name}")


async def _read(database: Database, name: str) -> JSONObject | None:
    try:
        found: JSONObject = await database.session.get(_path(database, name))
    except NotFoundError:
        return None
    return found


async def _write(database: Database, name: str, body: JSONObject) -> None:
    await database.session.send(Request("PUT", _path(database, name), body=encode(body)))
    # CouchDB builds all views of a design document at once, so one of them is asked for.
    view = (*_path(database, name), "_view", next(iter(body["views"])))

    async def ask() -> None:
        # The embedded store cannot run a user's own JavaScript without the extra. A request for the rows says so.
        with suppress(UnsupportedError):
            await database.session.get(view, {"limit": "0", "reduce": "false"})

    await wait_until_built(ask)
