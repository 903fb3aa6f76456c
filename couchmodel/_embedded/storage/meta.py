"""What a store keeps about itself: its row in the table ``meta``."""

from typing import cast

from couchmodel._embedded.storage.sqlite import Connection

__all__ = ["read_meta", "write_meta"]


def read_meta(name: str, connection: Connection) -> bytes:
    """What is kept under the name; nothing where nothing is."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return b"" if row is None else cast(bytes, row[0])


def write_meta(name: str, value: bytes, connection: Connection, *, keep: bool = False) -> bytes:
    """Keep a value under the name; with ``keep``, what is there already. What is kept by then."""
    conflict = "NOTHING" if keep else "UPDATE SET value = excluded.value"
    connection.execute(f"INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO {conflict}", (name, value))
    return read_meta(name, connection)
