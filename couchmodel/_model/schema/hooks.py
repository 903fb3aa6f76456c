"""Hooks: methods of a model that run before or after its documents are saved, deleted or loaded.

The hooks of base classes run first, those of one class in the order in which they stand there. A method that a subclass
overrides is the subclass's hook only.
"""

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from couchmodel.errors import ConfigurationError

__all__ = [
    "after_delete",
    "after_load",
    "after_save",
    "before_delete",
    "before_insert",
    "before_save",
    "hooks_of",
    "run_hooks",
]

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "__couchmodel_hooks__"

_FOUND: Final = "__hooks_by_event__"
"""The attribute in which a model keeps its hooks. A load looks them up, and a weak dictionary would be slower."""


def before_save(method: F) -> F:
    """Run a method before a document is stored, if it is new or has changed. What it changes is stored as well.

    The method may be asynchronous. If it raises, nothing is stored, and the document is as it was.
    """
    return _mark(method, "before_save")


def before_insert(method: F) -> F:
    """Run a method before a document is stored for the first time, ahead of those of ``before_save``."""
    return _mark(method, "before_insert")


def after_save(method: F) -> F:
    """Run a method after a document was stored. It may be asynchronous."""
    return _mark(method, "after_save")


def before_delete(method: F) -> F:
    """Run a method before a document is deleted. It may be asynchronous. If it raises, nothing is deleted."""
    return _mark(method, "before_delete")


def after_delete(method: F) -> F:
    """Run a method after a document was deleted. It may be asynchronous."""
    return _mark(method, "after_delete")


def after_load(method: F) -> F:
    """Run a method after a document was loaded. It cannot be asynchronous, since it runs for each row of a query."""
    if inspect.iscoroutinefunction(method):
        raise ConfigurationError(f"{method.__qualname__} cannot be asynchronous: it runs for each row of a query")
    return _mark(method, "after_load")


def hooks_of(model: type, event: str) -> tuple[str, ...]:
    """Return the names of a model's methods that run at an event, such as ``before_save``."""
    found: dict[str, tuple[str, ...]] | None = model.__dict__.get(_FOUND)  # not that of a base class
    if found is None:
        found = _collect(model)
        type.__setattr__(model, _FOUND, found)
    return found.get(event, ())


async def run_hooks(document: Any, event: str) -> None:
    """Run the hooks of an event."""
    for name in hooks_of(type(document), event):
        result = getattr(document, name)()
        if inspect.isawaitable(result):
            await result


def _mark(method: F, event: str) -> F:
    if not inspect.isfunction(method):
        raise ConfigurationError(
            f"{event} is for a method of a model: put it directly above its def, not over {method!r}"
        )
    setattr(method, _MARK, (*getattr(method, _MARK, ()), event))
    return cast("F", method)


def _collect(model: type) -> dict[str, tuple[str, ...]]:
    """Return the hooks of a model by event."""
    names = dict.fromkeys(
        name for kind in reversed(model.__mro__) for name, value in vars(kind).items() if hasattr(value, _MARK)
    )
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        for event in getattr(inspect.getattr_static(model, name), _MARK, ()):
            found[event] = (*found.get(event, ()), name)
    return found
