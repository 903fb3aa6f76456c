"""The hooks of documents, run around the writes of a repository, and the verbs that a model overrides."""

from collections.abc import Iterable
from typing import Any

from couchmodel._model.codec import codec
from couchmodel._model.codec.changes import is_changed
from couchmodel._model.codec.duplicates import snapshot
from couchmodel._model.schema import state
from couchmodel._model.schema.hooks import hooks_of, run_hooks

__all__ = ["call_verb", "has_hooks", "overrides", "prepare", "restore_all", "run_before", "run_hooks"]


async def prepare(document: Any) -> Any:
    """Run the hooks that come before a save, if there is something to save.

    Return a copy of the document as it was before, for :func:`restore_all`; None if no hook ran. If a hook raises, the
    document gets back the values that it had.
    """
    # A hook that sets a time stamp would make every unchanged document a changed one, so it runs only for changed ones.
    if not has_hooks([type(document)], "before_insert", "before_save") or not is_changed(document):
        return None
    return await run_before(document, *(("before_insert",) if document.rev is None else ()), "before_save")


async def run_before(document: Any, *events: str) -> Any:
    """Run the hooks of events that come before a write, and return as :func:`prepare` does."""
    if not has_hooks([type(document)], *events):
        return None
    before = snapshot(document)
    try:
        for event in events:
            await run_hooks(document, event)
    except BaseException:
        codec.adopt_values(document, before)
        raise
    return before


def restore_all(documents: Iterable[tuple[Any, Any]]) -> None:
    """Give documents the values that they had before their hooks ran. Each comes with its copy, or with None."""
    for document, before in documents:
        if before is not None:
            codec.adopt_values(document, before)


def has_hooks(models: Iterable[type], *events: str) -> bool:
    """Return True if one of the models has a hook of one of the events."""
    return any(hooks_of(model, event) for model in models for event in events)


async def call_verb(verb: str, document: Any, repository: Any, **remarks: Any) -> None:
    """Save or delete a document by the method of its class, if that has its own, else by the repository.

    The document belongs to the repository from then on, unless it is refused.
    """
    if not overrides(type(document), verb):
        await getattr(repository, verb)(document, **remarks)
        return
    # A ``save`` of the class calls that of CouchModel in the end, which finds the repository in the document.
    before = state.repository(document)
    state.set_repository(document, repository)
    try:
        await getattr(document, verb)(**remarks)
    except BaseException:
        state.set_repository(document, before)
        raise


def overrides(model: type, verb: str) -> bool:
    """Return True if a model, or a class that it inherits from, has its own version of a verb, such as ``save``."""
    # ``__verbs__`` marks the class that defines the verbs of all models.
    owner = next((kind for kind in model.__mro__ if verb in vars(kind)), None)
    return owner is not None and "__verbs__" not in vars(owner)
