"""The binding of models to a server: by :func:`connect` for the process, by :func:`using` for a context."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from couchmodel.engine import CouchDB, Database
from couchmodel.errors import ConfigurationError

__all__ = [
    "DEFAULT_URL",
    "bind",
    "bound_server",
    "database_of",
    "declare_database",
    "default_url",
    "overriding_database",
    "unbind",
    "using",
]

DEFAULT_URL: Final = "sqlite:couchmodel.db"

# Connections count for the process and not for the context: a web server handles requests in other contexts than the
# one in which its lifespan has opened the connection. They are a list, because they may be opened inside each other:
# when the inner one closes, the outer one counts again.
_connections: Final[list[CouchDB]] = []
_override: Final[ContextVar[CouchDB | Database | None]] = ContextVar("couchmodel_using", default=None)


def default_url() -> str:
    """Return the URL in the environment variable ``COUCHMODEL_URL``, else that of a file in the working folder."""
    return os.environ.get("COUCHMODEL_URL") or DEFAULT_URL


def bind(couch: CouchDB) -> None:
    """Bind all models of the process to this server. The last one that was bound counts."""
    _connections.append(couch)


def unbind(couch: CouchDB) -> None:
    """Undo :func:`bind`."""
    if couch in _connections:
        # Connections may be closed in another order than they were opened, so this one need not be the last.
        _connections.remove(couch)


@contextmanager
def using(target: CouchDB | Database) -> Generator[None]:
    """Run the block with models bound to another server, or all of them to one database.

    It is meant for tests and tenants: the binding holds for the current task and for the tasks that it starts, and for
    no others.
    """
    token = _override.set(target)
    try:
        yield
    finally:
        _override.reset(token)


def bound_server() -> CouchDB | None:
    """Return the server that models are bound to by :func:`using` or by an open connection; None if there is none."""
    target = _override.get()
    return target if isinstance(target, CouchDB) else _connections[-1] if _connections else None


def overriding_database() -> Database | None:
    """Return the database that all models are bound to in this task by :func:`using`; None if there is none."""
    target = _override.get()
    return target if isinstance(target, Database) else None


def database_of(model: type[Any], name: str | None) -> Database:
    """Return the database that a model is bound to; ``name`` is the one that the model names.

    Raises ConfigurationError if no server is bound, or if the model names no database.
    """
    target = _override.get() or (_connections[-1] if _connections else None)
    if isinstance(target, Database):
        return target
    if target is None:
        hint = "open a connection with `async with connect() as couch:`"
        raise ConfigurationError(f"{model.__name__} is not bound to a server: {hint}")
    if name is None:
        raise ConfigurationError(f"{model.__name__} names no database: {declare_database(model)}, or use a Repository")
    return target.database(name)


def declare_database(model: type[Any]) -> str:
    """Return the advice, for an error message, to name a database in the declaration of a model."""
    return f'declare it with `class {model.__name__}(CouchModel, database="…")`'
