"""The hooks of documents, run around the writes of a repository."""

from collections.abc import Sequence
from typing import Any

from couchmodel._model.codec import codec
from couchmodel._model.codec.changes import is_changed
from couchmodel._model.schema.hooks import hooks_of, run_hooks

__all__ = ["has_hooks", "prepare", "run_hooks"]


async def prepare(document: Any) -> None:
    """Run the hooks that come before a save, if there is something to save.

    If one raises, the document gets back the values that it had.
    """
    model = type(document)
    if not has_hooks([model], "before_insert", "before_save") or not is_changed(document):
        return
    before = document.model_copy(deep=True)
    try:
        if document.rev is None:
            await run_hooks(document, "before_insert")
        await run_hooks(document, "before_save")
    except BaseException:
        codec.adopt_values(document, before)
        raise


def has_hooks(models: Sequence[type], *events: str) -> bool:
    """Return True if one of the models has a hook of one of the events."""
    return any(hooks_of(model, event) for model in models for event in events)
