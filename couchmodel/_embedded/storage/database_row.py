"""Read the row that a database has in the table ``database``."""

from typing import Any, cast

from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.errors import NotFoundError

__all__ = ["check_database", "read_row"]


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
