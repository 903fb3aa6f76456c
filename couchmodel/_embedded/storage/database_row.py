"""Read and write the row that a database has in the table ``database``."""

import uuid
from typing import Any, Final, cast

from couchmodel._embedded.rules.security import Security
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.errors import NotFoundError, PreconditionFailedError

__all__ = ["check_database", "drop_database", "insert_database", "read_databases", "read_row"]

_COLUMNS: Final = "number, name, uuid, created, security, shards, partitioned"


def read_row(connection: Connection, database_id: int, columns: str) -> tuple[Any, ...]:
    """Return columns of a database's row. Raises NotFoundError if the database was dropped.

    The row of a dropped database has no name. It stays until the documents are removed.
    """
    row = connection.execute(
        f"SELECT {columns} FROM database WHERE number = ? AND name IS NOT NULL", (database_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(NO_DATABASE)
    return cast(tuple[Any, ...], row)


def check_database(connection: Connection, database_id: int) -> None:
    """Raise NotFoundError if a database was dropped. Its documents may still be there, waiting for removal."""
    read_row(connection, database_id, "1")


def insert_database(connection: Connection, name: str, shards: int, partitioned: bool, created: int) -> Database:
    """Add a database and return it. Raises PreconditionFailedError if the name is taken."""
    row = connection.execute(
        "INSERT INTO database (name, uuid, created, shards, partitioned) VALUES (?, ?, ?, ?, ?)"
        f" ON CONFLICT DO NOTHING RETURNING {_COLUMNS}",
        (name, uuid.uuid4().hex, created, shards, partitioned),
    ).fetchone()
    if row is None:
        reason = "The database could not be created, the file already exists."
        raise PreconditionFailedError(reason, code="file_exists")
    return _database_from_row(row)


def drop_database(connection: Connection, name: str) -> Database:
    """Take the name of a database away, and return the database. Raises NotFoundError if there is none."""
    row = connection.execute(
        f"UPDATE database SET name = NULL WHERE name = ? RETURNING {_COLUMNS.replace('name', '?')}", (name, name)
    ).fetchone()
    if row is None:
        raise NotFoundError(NO_DATABASE)
    return _database_from_row(row)


def read_databases(connection: Connection) -> list[Database]:
    """Return all databases that were not dropped."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM database WHERE name IS NOT NULL")
    return [_database_from_row(row) for row in rows.fetchall()]


def _database_from_row(row: tuple[Any, ...]) -> Database:
    number, name, database_uuid, created, security, shards, partitioned = row
    return Database(number, name, database_uuid, created, Security(security), shards, bool(partitioned))
