"""Read and write the table ``meta``, in which a store keeps values about itself by name."""

from typing import cast

from couchmodel._embedded.storage.sqlite import Connection

__all__ = ["read_meta", "write_meta"]


def read_meta(connection: Connection, name: str) -> bytes:
    """Return the value stored under a name, or empty bytes if there is none."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return b"" if row is None else cast(bytes, row[0])


def write_meta(connection: Connection, name: str, value: bytes, *, keep: bool = False) -> bytes:
    """Store a value under a name, and return the value that is stored afterwards.

    With ``keep`` a value that is there already stays.
    """
    conflict = "NOTHING" if keep else "UPDATE SET value = excluded.value"
    connection.execute(f"INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO {conflict}", (name, value))
    return read_meta(connection, name)
