"""Which server a model's own verbs speak to: :func:`connect` for the process, :func:`using` for a context."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from couchmodel.engine import CouchDB, Database
from couchmodel.errors import ConfigurationError

__all__ = ["DEFAULT_URL", "bind", "database_of", "default_url", "unbind", "using"]

DEFAULT_URL: Final = "sqlite:couchmodel.db"

_bound: Final[list[CouchDB]] = []
_override: Final[ContextVar[CouchDB | Database | None]] = ContextVar("couchmodel_using", default=None)


def default_url() -> str:
    """The URL in the environment variable ``COUCHMODEL_URL``, else a file in the working folder."""
    return os.environ.get("COUCHMODEL_URL") or DEFAULT_URL


def bind(couch: CouchDB) -> None:
    """Make this the server of the process; the latest one counts."""
    _bound.append(couch)


def unbind(couch: CouchDB) -> None:
    """Undo :func:`bind`."""
    if couch in _bound:
        _bound.remove(couch)


@contextmanager
def using(target: CouchDB | Database) -> Generator[None]:
    """Within this context, models speak to another server; given a database, all of them to that one.

    For tests and tenants: the override is seen by this task and by those it starts, and by nobody else.
    """
    token = _override.set(target)
    try:
        yield
    finally:
        _override.reset(token)


def database_of(model: type[Any], name: str | None) -> Database:
    """The database of a model that names one. Raises ConfigurationError where nothing says which."""
    target = _override.get() or (_bound[-1] if _bound else None)
    if isinstance(target, Database):
        return target
    if target is None:
        raise ConfigurationError(f"{model.__name__} is not connected: open one with `async with connect() as couch:`")
    if name is None:
        example = f'class {model.__name__}(CouchModel, database="…")'
        raise ConfigurationError(f"{model.__name__} names no database: write `{example}`, or use a Repository")
    return target.database(name)
