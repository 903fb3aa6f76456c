"""The part of a plan that concerns guards: install, change and remove them, and what they mean for stored documents."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any, Final

from couchmodel._model.guard.constraints import Constraints, constraints_of
from couchmodel._model.guard.javascript import design_of
from couchmodel._model.guard.probe import is_answer_of, probe_for
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.kinds import kind_selector, kinds_of
from couchmodel._model.store.plans.steps import Step
from couchmodel._wire.guards import DESIGN_PREFIX, MEMBER, Guard
from couchmodel._wire.messages import Request, decode, encode
from couchmodel.engine import Database
from couchmodel.engine.database import find_rows
from couchmodel.errors import ConfigurationError, ForbiddenError, NotFoundError, ServerError
from couchmodel.types import JSONObject

__all__ = ["guard_notes", "plan_guards"]

_FIRST_LOOK: Final = 0.03
"""The time that CouchDB may take until a function is in force, in seconds. An earlier probe would be stored."""

_LONGEST_WAIT: Final = 10.0
"""The longest time to wait for a guard, in seconds."""

_NAMED: Final = 3
"""The most documents that a note names."""


async def plan_guards(model: type[DocumentModel], database: Database, *, exists: bool) -> AsyncIterator[Step]:
    """Yield the steps that bring the guards of a model to what it declares: its own, and those of its subclasses.

    Each type has a guard of its own, so that a program that does not know a subclass leaves its guard alone. A design
    document that couchmodel has not written is not touched: raises ConfigurationError if one is in the way.
    """
    there = await _installed_guards(database) if exists else {}
    for kind in _kinds(model):
        id, design = _id_of(kind), there.get(_id_of(kind))
        if not kind.__declared__.guard:
            if design is not None and _is_own(design):
                yield Step(f"remove the guard of {kind.__name__}", partial(_remove, database, id, design["_rev"]))
            continue
        if design is not None and not _is_own(design):
            raise ConfigurationError(
                f"{id} in {database.id!r} was not written by couchmodel, so the guard of {kind.__name__} cannot take"
                " its place: delete it, or give the model another type"
            )
        wanted = design_of(constraints_of(kind).declaration)
        if design is None or any(design.get(name) != value for name, value in wanted.items()):
            verb = "install" if design is None else "change"
            rev = {} if design is None else {"_rev": design["_rev"]}
            install = partial(_install, database, id, {**rev, **wanted})
            yield Step(f"{verb} the guard of {kind.__name__}", install)


async def guard_notes(model: type[DocumentModel], database: Database) -> AsyncIterator[str]:
    """Yield a note for each constraint that a guard of the model lacks, and for stored documents that break it.

    Another note is on a guard of the same documents under another name, as of a class that was renamed.
    """
    there = await _installed_guards(database) if await database.exists() else {}
    for kind in _kinds(model):
        if not kind.__declared__.guard:
            continue
        constraints = constraints_of(kind)
        for sentence in constraints.missing:
            yield f"the guard of {kind.__name__}: {sentence}"
        for id, design in there.items():
            if id != _id_of(kind) and _is_own(design) and _is_of_same_documents(design, constraints.declaration):
                yield f"{id} guards the documents of {kind.__name__}, too: delete it, if its class has been renamed"
        broken = await _find_broken(kind, constraints, database)
        if broken:
            yield _say_broken(kind.__name__, broken)


def _say_broken(name: str, broken: list[str]) -> str:
    named = "; ".join(broken[:_NAMED]) + ("; …" if len(broken) > _NAMED else "")
    documents = "1 stored document breaks" if len(broken) == 1 else f"{len(broken)} stored documents break"
    return (
        f"{documents} the guard of {name}, so a change or a replication of them would be refused: {named}."
        f" Mend them first, or try await {name}.repository().migrate()"
    )


def _kinds(model: type[DocumentModel]) -> Iterable[type[DocumentModel]]:
    return kinds_of(model).values() or [model]


def _id_of(model: type[DocumentModel]) -> str:
    return f"{DESIGN_PREFIX}{model.__declared__.type or model.__name__}"


def _is_of_same_documents(design: JSONObject, declaration: JSONObject) -> bool:
    other = design[MEMBER]["guard"]
    return all(other.get(name) == declaration[name] for name in ("type_member", "type", "version_member", "version"))


def _is_own(design: JSONObject) -> bool:
    mark = design.get(MEMBER)
    return isinstance(mark, dict) and "guard" in mark


async def _installed_guards(database: Database) -> dict[str, Any]:
    """Return the design documents whose ids are those of guards."""
    params = {
        "start_key": json.dumps(DESIGN_PREFIX),
        # CouchDB's manual ends the range of a prefix with this character, which sorts behind all letters.
        "end_key": json.dumps(f"{DESIGN_PREFIX}\ufff0"),
        "include_docs": "true",
    }
    answer = await database.session.get((*database.path, "_all_docs"), params)
    return {row["id"]: row["doc"] for row in answer["rows"]}


async def _find_broken(model: type[DocumentModel], constraints: Constraints, database: Database) -> list[str]:
    """Return the ids of the stored documents that break a guard, each with what is wrong."""
    guard, broken = Guard(constraints.declaration), list[str]()
    declared = model.__declared__
    # A guard is about one type only. Its subclasses have guards of their own.
    types = [] if declared.type is None else [declared.type]
    try:
        async for rows in find_rows(database.session, database.path, {"selector": kind_selector(model, types)}, None):
            for row in rows:
                document = decode(row)
                breach = guard.find_breach(document["_id"], document)
                if breach is not None:
                    broken.append(f"{document['_id']!r} ({breach})")
    except NotFoundError:  # the database is yet to be created
        return []
    return broken


def _design_path(database: Database, id: str) -> tuple[str, ...]:
    return (*database.path, *id.split("/", 1))


async def _remove(database: Database, id: str, rev: str) -> None:
    await database.session.send(Request("DELETE", _design_path(database, id), {"rev": rev}))


async def _install(database: Database, id: str, design: JSONObject) -> None:
    """Store a guard, and wait until it is in force.

    Raises ServerError if it is not for ten seconds.
    """
    await database.session.send(Request("PUT", _design_path(database, id), body=encode(design)))
    declaration, until = design[MEMBER]["guard"], time.monotonic() + _LONGEST_WAIT
    pause = _FIRST_LOOK
    while not await _is_in_force_after(pause, declaration, database):
        if time.monotonic() > until:
            raise ServerError(f"{id} in {database.id!r} is stored, but is not in force after {_LONGEST_WAIT:.0f} s")
        pause = min(pause * 2, 1.0)


async def _is_in_force_after(pause: float, declaration: JSONObject, database: Database) -> bool:
    await asyncio.sleep(pause)
    # CouchDB loads validation functions after the design document is stored. A document that the guard refuses shows
    # that it is in force, and is never stored then.
    probe, content = probe_for(declaration)
    try:
        await database.session.send(Request("PUT", (*database.path, probe), body=encode(content)))
    except ForbiddenError as error:
        # Where another function refuses the probe first, nothing is to be seen of the guard.
        return is_answer_of(declaration, error) or not error.reason.startswith("couchmodel-guard-")
    return False
