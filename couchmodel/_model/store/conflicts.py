"""Conflicts that replication has left: documents with several current versions, and how they become one again.

CouchDB keeps all versions and shows one of them, the same on every server. The versions are merged as an edit is, with
their common ancestor as the base, if the store still has it. The new revision is a function of the versions alone: two
programs that resolve one conflict on two servers at the same time write the same revision, which is no conflict.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, Protocol

from couchmodel._model.codec import codec
from couchmodel._model.codec.changes import is_changed
from couchmodel._model.codec.three_way import UNKNOWN, merge_documents
from couchmodel._model.query.assignments import assign, check_assignments
from couchmodel._model.query.selector import all_of
from couchmodel._wire.messages import Request, decode, encode
from couchmodel.engine import Database
from couchmodel.engine.bulk import row_error, write_in_batches
from couchmodel.errors import ConfigurationError, ConflictError, CouchModelError, ForbiddenError, UnauthorizedError
from couchmodel.types import JSONObject

__all__ = ["conflict_versions", "conflicted_bodies", "resolve_conflict"]

_ATTEMPTS: Final = 10
"""How often a resolution is tried while the versions change."""

_INDEX: Final = "couchmodel-conflicts"
"""The design document of the index of documents with conflicts. It is made when it is first asked for."""


class _Source(Protocol):
    """A repository."""

    model: Any
    database: Database

    @property
    def kind(self) -> JSONObject: ...

    def load(self, row: bytes) -> Any: ...

    def rows(self, body: JSONObject, limit: int | None) -> AsyncGenerator[list[bytes], None]: ...


async def conflicted_bodies(source: _Source) -> AsyncGenerator[bytes, None]:
    """Yield the JSON text of each document of a model that has conflicts: of the version that CouchDB shows.

    The index has documents with conflicts only, if the index and the query ask for ``conflicts``. Without the right to
    make it, all documents are read.
    """
    with suppress(UnauthorizedError, ForbiddenError):
        await source.database.index({"fields": ["_conflicts"]}, ddoc=_INDEX, name=_INDEX, type="json")
    selector = all_of(source.kind, {"_conflicts": {"$exists": True}})
    body = {"selector": selector, "use_index": [_INDEX, _INDEX], "conflicts": True}
    async with aclosing(source.rows(body, None)) as batches:
        async for batch in batches:
            for row in batch:
                document = decode(row)
                document.pop("_conflicts", None)
                yield encode(document)


async def conflict_versions(source: _Source, id: str) -> list[Any]:
    """Return the other current versions of a document, without the one that CouchDB shows."""
    _, others = await _read_versions(source, id)
    return [source.load(encode(_without_history(each))) for each in others]


async def resolve_conflict(source: _Source, document: Any, values: Iterable[object]) -> None:
    """Merge all versions of a document into one, and store that in place of all of them.

    ``values`` are assignments, which count for fields that clash. Raises ConflictError, with ``fields``, if other
    fields clash: nothing is stored then.
    """
    given = list(values)
    assignments = check_assignments(source.model, given) if given else []
    if is_changed(document):
        raise ConfigurationError(f"{document.id!r} has unsaved changes: save it or roll it back before you resolve it")
    for _ in range(_ATTEMPTS):
        shown, others = await _read_versions(source, document.id)
        winner = source.load(encode(_without_history(shown)))
        if others:
            await _merge_versions(source, winner, shown, others, assignments)
        body = codec.body_to_send(winner) if others else None
        bodies = [] if body is None else [body]
        bodies += [_deletion(each, source.model.__declared__.type_field) for each in others]
        if await _write(source, document.id, bodies):
            stored = source.load(encode(_without_history((await _read_versions(source, document.id))[0])))
            codec.adopt(document, stored)
            return
    raise ConflictError(f"{document.id!r} was changed {_ATTEMPTS} times while it was resolved: try again")


async def _merge_versions(
    source: _Source, winner: Any, shown: JSONObject, others: Sequence[JSONObject], assignments: Sequence[Any]
) -> None:
    """Change the version that CouchDB shows into the merge of all versions."""
    base = await _read_ancestor(source, shown, others)
    versions = [source.load(encode(_without_history(each))) for each in others]
    newer = [found for each in (winner, *versions) if (found := codec.newer_version(each)) is not None]
    if newer:  # members that this model does not know would be lost
        raise ConflictError(
            f"a version of {winner.id!r} is of version {max(newer)} of the schema, and this program knows version"
            f" {type(winner).__declared__.version}: resolve it with a newer program"
        )
    clashes: set[str] = set()
    for each in versions:
        merged = merge_documents(base, each, winner)
        vars(winner).update(merged.values)
        object.__setattr__(winner, "__pydantic_extra__", merged.extra)
        clashes |= merged.clashes
    settled = {assignment.place.path for assignment in assignments}
    left = {path for path in clashes if not any(path == each or path.startswith(f"{each}.") for each in settled)}
    if left:
        error = ConflictError(
            f"the versions of {winner.id!r} differ in {', '.join(sorted(left))}",
            hint="say what is to be stored, as in resolve(recipe, Recipe.title.set(…))",
        )
        error.document_id, error.fields, error.theirs = winner.id, left, winner
        error.base = None if base is UNKNOWN else base
        raise error
    if assignments:
        assign(winner, assignments)


async def _read_versions(source: _Source, id: str) -> tuple[JSONObject, list[JSONObject]]:
    """Return the version of a document that CouchDB shows, and the others by revision, each with its history."""
    session, path = source.database.session, source.database.path
    shown: JSONObject = await session.get((*path, id), {"conflicts": "true", "revs": "true"})
    conflicts = sorted(shown.pop("_conflicts", ()))
    if not conflicts:
        return shown, []
    wanted = encode({"docs": [{"id": id, "rev": rev} for rev in conflicts]})
    answer = await session.json(Request("POST", (*path, "_bulk_get"), {"revs": "true"}, body=wanted))
    found = [result["docs"][0].get("ok") for result in answer["results"]]
    return shown, [each for each in found if each is not None and not each.get("_deleted")]


async def _read_ancestor(source: _Source, shown: JSONObject, others: Iterable[JSONObject]) -> Any:
    """Return the latest common ancestor of versions; UNKNOWN if the store does not have it any more."""
    common = set(_history(shown)).intersection(*map(_history, others))
    if not common:
        return UNKNOWN
    rev = max(common, key=lambda each: int(each.partition("-")[0]))
    wanted = encode({"docs": [{"id": shown["_id"], "rev": rev}]})
    path = (*source.database.path, "_bulk_get")
    answer = await source.database.session.json(Request("POST", path, body=wanted))
    found = answer["results"][0]["docs"][0].get("ok")
    return UNKNOWN if found is None or found.get("_deleted") else source.load(encode(found))


def _history(version: Mapping[str, Any]) -> list[str]:
    revisions = version["_revisions"]
    return [f"{revisions['start'] - n}-{id}" for n, id in enumerate(revisions["ids"])]


def _deletion(version: Mapping[str, Any], type_field: str) -> bytes:
    """Return the text that ends a version. It keeps the type, so that feeds of a type see it."""
    kept = {name: version[name] for name in ("_id", "_rev", type_field) if name in version}
    return encode({**kept, "_deleted": True})


def _without_history(version: JSONObject) -> JSONObject:
    return {name: value for name, value in version.items() if name != "_revisions"}


async def _write(source: _Source, id: str, bodies: Sequence[bytes]) -> bool:
    """Store the merged version and the ends of the others. Return False if a version has changed meanwhile."""
    refused: list[CouchModelError] = []
    async for rows in write_in_batches(source.database.session, source.database.path, bodies):
        refused += [row_error(row, f"/{source.database.id}/{id}") for row in rows if "rev" not in row]
    others = [error for error in refused if not isinstance(error, ConflictError)]
    if others:
        raise others[0]
    return not refused
