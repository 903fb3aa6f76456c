"""Plans: the changes that bring a database to what its models declare, known before they are made."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from couchmodel._model.query.indexes import INDEX_DESIGN_PREFIX, ModelIndex, model_indexes
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.declaration import Security
from couchmodel._model.schema.kinds import kind_selector, kinds_of, qualified_name
from couchmodel._model.schema.members.versions import VERSION_MEMBER, upgrades_of
from couchmodel._model.store.binding import declare_database
from couchmodel._model.store.plans.guards import plan_guards
from couchmodel._model.store.plans.steps import Step, wait_until_built
from couchmodel._model.store.plans.views import plan_view_pruning, plan_views
from couchmodel._retry import Backoff, retry
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from couchmodel.engine.database import find_rows
from couchmodel.errors import ConfigurationError, NotFoundError, PreconditionFailedError, ResponseError
from couchmodel.types import JSONObject

__all__ = [
    "Plan",
    "Step",
    "apply_steps",
    "check_together",
    "missing_members",
    "older_documents",
    "plan_model",
    "plan_pruning",
]

_log: Final = logging.getLogger("couchmodel.plan")

_ATTEMPTS: Final = 6
"""How often a plan is made and applied while other processes, such as workers of a web server, do the same."""

_BACKOFF: Final = Backoff(0.05, jitter=True)


class Plan:
    """The changes that ``apply`` would make, and what they mean for documents that are stored already.

    ``steps`` and ``notes`` are sentences; ``str(plan)`` has a line for each.
    """

    def __init__(self, steps: Iterable[str], notes: Iterable[str]) -> None:
        self.steps = tuple(steps)
        self.notes = tuple(notes)

    @property
    def is_empty(self) -> bool:
        """True if the databases are as their models declare."""
        return not self.steps

    def __str__(self) -> str:
        return "\n".join([*self.steps, *(f"note: {note}" for note in self.notes)]) or "nothing to do"

    def __repr__(self) -> str:
        return f"<Plan of {len(self.steps)} steps>"


def check_together(models: Iterable[type[DocumentModel]], *, named: bool = True) -> None:
    """Raise ConfigurationError if the documents of two models in one database could not be told apart.

    With ``named``, it is also raised for a model that names no database. Without, all models are taken to be in one.
    """
    owners: dict[tuple[str | None, str | None], type[DocumentModel]] = {}
    databases: dict[str | None, type[DocumentModel]] = {}
    for model in {qualified_name(model): model for model in models}.values():
        declared = model.__declared__
        if declared.database is None and named:
            raise ConfigurationError(f"{model.__name__} names no database: {declare_database(model)}")
        # Raises an error if two subclasses of the model have one type.
        kinds_of(model)
        other = owners.setdefault((declared.database, declared.type), model)
        if other is not model and declared.type is not None:
            raise ConfigurationError(
                f"{other.__name__} and {model.__name__} are both of the type {declared.type!r} in the database"
                f" {declared.database!r}: give one of them another type"
            )
        # A model without a type takes every document of its database for its own.
        neighbour = databases.setdefault(declared.database, model)
        if neighbour is not model and None in (declared.type, neighbour.__declared__.type):
            raise ConfigurationError(
                f"{neighbour.__name__} and {model.__name__} share the database {declared.database!r}, and their"
                f' documents cannot be told apart: give each a type, as in class {model.__name__}(CouchModel, type="…")'
            )


async def apply_steps(plan: Callable[[], AsyncIterator[Step]]) -> None:
    """Make the changes of a plan, and plan again if other processes make them at the same time."""

    async def apply() -> None:
        async for step in plan():
            await step.run()

    await retry(apply, attempts=_ATTEMPTS, backoff=_BACKOFF, is_temporary_error=_is_conflict)


def _is_conflict(error: BaseException) -> bool:
    # CouchDB answers two changes of indexes at the same time with a 500 of its own, not with a 409.
    return isinstance(error, ResponseError) and "conflict" in f"{error.code} {error.reason}".lower()


async def plan_model(model: type[DocumentModel], database: Database) -> AsyncIterator[Step]:
    """Yield the steps that bring a database to what a model declares: the database, settings, indexes and guards."""
    declared = model.__declared__
    exists = await database.exists()
    if not exists:
        yield Step(f"create the database {database.id!r}", partial(_create, database))
    if declared.security is not None:
        wanted = _security_document(declared.security)
        if not exists or await database.session.get((*database.path, "_security")) != wanted:
            yield Step(
                f"set the members and administrators of {database.id!r}", partial(_put, database, "_security", wanted)
            )
    limit = declared.revs_limit
    if limit is not None and (not exists or await database.session.get((*database.path, "_revs_limit")) != limit):
        yield Step(f"set the revs_limit of {database.id!r} to {limit}", partial(_put, database, "_revs_limit", limit))
    async for step in _plan_indexes(model, database, exists=exists):
        yield step
    async for step in plan_views(model, database, exists=exists):
        yield step
    async for step in plan_guards(model, database, exists=exists):
        yield step


async def _plan_indexes(model: type[DocumentModel], database: Database, *, exists: bool) -> AsyncIterator[Step]:
    """Yield the steps that create the indexes of a model.

    Each is in a design document of its own, named by a digest of the index. So a changed index is another one beside
    the old one, which programs of the old version go on to use until it is pruned.
    """
    there = {index["ddoc"] for index in await _stored_indexes(database)} if exists else set()
    for index in model_indexes(model):
        if f"_design/{index.design}" not in there:
            where = f" where {encode(index.where).decode()}" if index.where else ""
            description = f"create the index {index.name!r} of {model.__name__} on {', '.join(index.paths)}{where}"
            yield Step(description, partial(_create_index, model, database, index))


async def plan_pruning(models: Iterable[type[DocumentModel]], database: Database) -> AsyncIterator[Step]:
    """Yield the steps that delete the indexes of couchmodel that none of the models declares any more."""
    if not await database.exists():
        return
    models = list(models)
    async for step in plan_view_pruning(models, database):
        yield step
    declared = {f"_design/{index.design}" for model in models for index in model_indexes(model)}
    for index in await _stored_indexes(database):
        design = index["ddoc"]
        if design.startswith(f"_design/{INDEX_DESIGN_PREFIX}") and design not in declared:
            path = (*database.path, "_index", *design.split("/"), "json", index["name"])
            columns = ", ".join(next(iter(field)) for field in index["def"]["fields"])
            yield Step(
                f"delete the index {index['name']!r} on {columns}",
                partial(database.session.send, Request("DELETE", path)),
            )


async def _stored_indexes(database: Database) -> list[JSONObject]:
    answer = await database.session.get((*database.path, "_index"))
    # CouchDB lists ``_all_docs`` as an index, too, without a design document.
    return [index for index in answer["indexes"] if index["ddoc"] is not None]


async def _create_index(model: type[DocumentModel], database: Database, index: ModelIndex) -> None:
    """Create an index, and wait until it is built, so that the first query does not have to.

    Log a warning of the documents that it leaves out.
    """
    await database.index(index.definition, ddoc=index.design, name=index.name, type="json")
    # CouchDB uses an index only for a query with a condition on each of its columns. Without, the query would not wait
    # for the build.
    condition: JSONObject = {path: {"$exists": True} for path in index.paths}
    body = {"selector": condition, "use_index": [index.design, index.name], "fields": ["_id"]}

    async def ask() -> None:
        async for _ in find_rows(database.session, database.path, body, 1):
            pass

    await wait_until_built(ask)
    async for note in missing_members(model, database, index.paths):
        _log.warning(note)


async def _create(database: Database) -> None:
    with suppress(PreconditionFailedError):  # another process may have created it meanwhile
        await database.session.send(Request("PUT", database.path))


async def _put(database: Database, member: str, value: Any) -> None:
    await database.session.send(Request("PUT", (*database.path, member), body=encode(value)))


def _security_document(security: Security) -> JSONObject:
    return {
        "admins": {"names": list(security.admin_names), "roles": list(security.admin_roles)},
        "members": {"names": list(security.member_names), "roles": list(security.member_roles)},
    }


async def older_documents(model: type[DocumentModel], database: Database) -> AsyncIterator[str]:
    """Yield a note of the stored documents of an older version of the schema, for the model and each subclass."""
    for kind in kinds_of(model).values() or [model]:
        if not upgrades_of(kind):
            continue
        version = kind.__declared__.version
        older = [{VERSION_MEMBER: {"$exists": False}}, {VERSION_MEMBER: {"$lt": version}}]
        types = [] if kind.__declared__.type is None else [kind.__declared__.type]
        count = await _count(database, {**kind_selector(kind, types), "$or": older})
        if count:
            yield (
                f"{count} stored documents of {kind.__name__} are of an older version of the schema than {version}."
                " They are upgraded when they are read, but queries and views see what is stored:"
                f" await {kind.__name__}.repository().migrate()"
            )


async def missing_members(
    model: type[DocumentModel], database: Database, paths: Iterable[str] | None = None
) -> AsyncIterator[str]:
    """Yield a note for each indexed field that stored documents of a model lack. An index leaves such documents out.

    ``paths`` are those of the fields to look at; the default is all that are indexed.
    """
    kind = kind_selector(model, kinds_of(model))
    for path in dict.fromkeys(paths or (path for index in model_indexes(model) for path in index.paths)):
        count = await _count(database, {**kind, path: {"$exists": False}})
        if count:
            yield (
                f"{count} stored documents of {model.__name__} have no {path!r}, so a sort or a condition by it leaves"
                f" them out: await {model.__name__}.repository().migrate()"
            )


async def _count(database: Database, selector: JSONObject) -> int:
    """Return the number of documents that a selector matches; 0 if the database is yet to be created."""
    rows = find_rows(database.session, database.path, {"selector": selector, "fields": ["_id"]}, None)
    try:
        # _find has no count, so the ids are fetched and counted.
        return sum([len(batch) async for batch in rows])
    except NotFoundError:
        return 0
