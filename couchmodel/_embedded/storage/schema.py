"""Define the tables of a store.

All databases share one set of tables; a column holds the number of the database.

A database is a row, so that creating or dropping one is a small write. The rows of a dropped database are removed in
pieces later. Its number is never used again.

A document's row holds its winning revision as a whole, so that a read takes one row. Losing and superseded revisions
lie in the table ``revision``. The revision tree is the last column of the document's row, behind the body, so that a
read never has to pass over it.

The schema is a list of migrations. A new file runs all of them, a file of an older version runs the ones that it lacks.
"""

from typing import Final

__all__ = ["APPLICATION_ID", "STEPS", "VERSION"]

APPLICATION_ID: Final = 0x436F5344
"""The application id in SQLite's file header: ``CoSD`` in ASCII."""

# A step that was released never changes, not even its comments: SQLite keeps the text in the file, and a file that went
# through the steps has to equal a new one. So some comments name modules that have moved: what was `attachments.py` is
# in the room `documents`, what was `index_rows.py` is `views/writer.py`.
_DOCUMENTS: Final = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

CREATE TABLE database (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE,                       -- NULL: dropped, to be cleared away
    uuid TEXT NOT NULL,
    created INTEGER NOT NULL,               -- seconds since 1970
    update_seq INTEGER NOT NULL DEFAULT 0,
    purge_seq INTEGER NOT NULL DEFAULT 0,
    living INTEGER NOT NULL DEFAULT 0,      -- documents
    deleted INTEGER NOT NULL DEFAULT 0,     -- tombstones
    revs_limit INTEGER NOT NULL DEFAULT 1000,
    purged_infos_limit INTEGER NOT NULL DEFAULT 1000,
    security BLOB                           -- JSON; NULL: CouchDB's default
);

CREATE TABLE document (
    number INTEGER PRIMARY KEY,
    database INTEGER NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    rev TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    attachments BLOB,                       -- JSON, see attachments.py; NULL: none
    body BLOB NOT NULL,                     -- JSON, without the members that begin with an underscore
    tree BLOB NOT NULL,
    UNIQUE (database, id),
    UNIQUE (database, seq)
);
CREATE INDEX tombstone ON document (database, id) WHERE deleted;

CREATE TABLE revision (
    document INTEGER NOT NULL,
    rev TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    attachments BLOB,
    body BLOB NOT NULL,
    UNIQUE (document, rev)
);

CREATE TABLE local_document (
    database INTEGER NOT NULL,
    id TEXT NOT NULL,
    rev INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (database, id)
) WITHOUT ROWID;

CREATE TABLE blob (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256 BLOB,                            -- of the stored bytes; NULL: still arriving
    encoding TEXT NOT NULL DEFAULT '',
    UNIQUE (sha256, encoding)
);
CREATE INDEX arriving ON blob (number) WHERE sha256 IS NULL;

CREATE TABLE chunk (
    blob INTEGER NOT NULL,
    position INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (blob, position)
);

CREATE TABLE attachment_use (               -- some stored revision of the document has the blob
    blob INTEGER NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (blob, document)
) WITHOUT ROWID;
CREATE INDEX attachment_use_by_document ON attachment_use (document);
"""

_INDEXES: Final = """
CREATE TABLE view_index (                   -- what the design documents of one signature share
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    database INTEGER,                       -- NULL: dropped, to be cleared away
    signature TEXT NOT NULL,
    collator TEXT NOT NULL,                 -- whose order the keys have
    update_seq INTEGER NOT NULL DEFAULT 0,  -- up to which the documents are in it
    totals BLOB NOT NULL,                   -- JSON: how many rows each view has
    UNIQUE (database, signature)
);

CREATE TABLE view_row (
    view_index INTEGER NOT NULL,
    view INTEGER NOT NULL,                  -- its place among the views of the index
    key BLOB NOT NULL,                      -- bytes in the order of the keys, see collation.py
    id TEXT NOT NULL,
    position INTEGER NOT NULL,              -- among the rows of the document in the view
    emitted BLOB NOT NULL,                  -- the key as JSON
    value BLOB NOT NULL,                    -- JSON
    PRIMARY KEY (view_index, view, key, id, position)
) WITHOUT ROWID;

CREATE TABLE view_block (                   -- how many rows there are from here to the next block
    view_index INTEGER NOT NULL,
    view INTEGER NOT NULL,
    key BLOB NOT NULL,
    id TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (view_index, view, key, id)
) WITHOUT ROWID;

CREATE TABLE view_document (                -- which rows a document has, for when it changes
    view_index INTEGER NOT NULL,
    document INTEGER NOT NULL,
    rows BLOB NOT NULL,                     -- see index_rows.py
    PRIMARY KEY (view_index, document)
) WITHOUT ROWID;

CREATE TABLE purge (
    database INTEGER NOT NULL,
    purge_seq INTEGER NOT NULL,
    uuid TEXT NOT NULL,
    id TEXT NOT NULL,
    revs BLOB NOT NULL,                     -- JSON
    PRIMARY KEY (database, purge_seq),
    UNIQUE (database, uuid)
) WITHOUT ROWID;
"""

_VALIDATION: Final = """
ALTER TABLE database ADD COLUMN validated INTEGER NOT NULL DEFAULT 0; -- whether functions may check its documents
UPDATE database SET validated = 1;
"""

_SHAPES: Final = """
ALTER TABLE database ADD COLUMN shards INTEGER NOT NULL DEFAULT 2;  -- as asked for; there is always one
ALTER TABLE database ADD COLUMN partitioned INTEGER NOT NULL DEFAULT 0;
"""

_CHECKSUMS: Final = """
ALTER TABLE blob ADD COLUMN checksums BLOB; -- CRC-32 of each chunk, four bytes each; NULL: stored before there were any
"""

STEPS: Final = (_DOCUMENTS, _INDEXES, _VALIDATION, _SHAPES, _CHECKSUMS)
"""The migrations: each one turns a version of the tables into the next; the first starts with an empty file."""

VERSION: Final = len(STEPS)
"""The current version of the tables, kept in SQLite's ``user_version``."""
