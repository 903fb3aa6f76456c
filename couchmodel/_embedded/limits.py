"""Every limit of the store: how large is too large, how long is too long, and how much is done at once.

Two reasons come again and again. Python runs one thread at a time, and a step in C or Rust, such as parsing a JSON
text, ends before another thread gets its turn: the event loop, which has to answer everybody, must not wait for longer
than 20 milliseconds (``benchmarks/lag.py``). And the memory of a process is shared by all requests.
"""

from typing import Final

# Time, in seconds

QUERY_SECONDS: Final = 60.0
"""The time in which a query has to find its next document: the default of CouchDB's setting ``request_timeout``."""

TURN_SECONDS: Final = 0.1
"""The time after which a read leaves the reading thread to others, and goes on in its next turn."""

INLINE_SECONDS: Final = 0.005
"""The time that a read may take in the event loop before it is run again on the reading thread."""

UNBROKEN_SECONDS: Final = 0.005
"""The time that a thread with many calls of SQLite runs before it pauses: Python's own switch interval."""

PAUSE_SECONDS: Final = 0.000_05
"""The length of the pause: long enough for another thread to take the interpreter lock."""

REGEX_SECONDS: Final = 1.0
"""The time that ``$regex`` may take on one value.

CouchDB gives up after ten million steps, and then treats the value as not matching. Here the query fails instead,
because a result without that document would be wrong.
"""

CHECKED_VALUES: Final = 100
"""The number of items of an array that are tested between two looks at the clock."""

# The largest bodies and documents. What is larger is refused with 413. CouchDB takes bodies of 4 GiB.

REQUEST_BYTES: Final = 4_294_967_296
"""The bytes of any request: CouchDB's default for ``max_http_request_size``, 4 GiB. Attachments may be so large."""

DOCUMENTS_BYTES: Final = 128 * 1024 * 1024
"""The bytes of a body of documents, which may have attachments in them.

It may be larger than other JSON: a large document is stored as text and never becomes a Python value.
"""

BODY_BYTES: Final = 8 * 1024 * 1024
"""The bytes of any other JSON body. The value that is parsed from it may take twenty times as many."""

BODY_VALUES: Final = 250_000
"""The values in such a body, all of which live until the response."""

QUERY_BYTES: Final = 256 * 1024
"""The bytes of a query. So many are parsed in one step."""

QUERY_PARTS: Final = 5000
"""The arrays, objects and members of a query.

Each condition becomes some twenty Python objects, which are freed in one step: other threads wait for 10 ms.
"""

QUERY_FIELDS: Final = 1000
"""The paths in each of the options ``fields`` and ``sort``. Each costs time for each document."""

BULK_DOCUMENTS: Final = 500_000
"""The documents of one request. The smallest takes half a kilobyte until all of them are written."""

DOCUMENT_BYTES: Final = 8_000_000
"""The bytes of a document without its attachments: the default of CouchDB's ``max_document_size``."""

OWN_DOCUMENT_VALUES: Final = 50_000
"""The values of a document that the store itself uses, or that repeats a name.

The former are design documents and documents of system databases. They are parsed as a whole, which takes memory.
"""

SPECIAL_VALUES: Final = 100_000
"""The values in the special members of a document, which become Python objects all at once."""

# Sizes from which on work leaves the event loop, or is done in pieces

LARGE_BODY: Final = 65_536
"""The number of bytes of a body from which on it is parsed, and freed, on a thread."""

BLOCK_BYTES: Final = 1024 * 1024
"""The bytes of a block in which a body is collected: about as many are copied at once while Python's lock is held."""

INLINE_QUERY_BYTES: Final = 1024
"""The bytes of a query that is parsed in the event loop.

It is less than for other bodies: a regular expression in it takes as long as a hundred times as many bytes of JSON.
"""

LARGE_JSON: Final = 262_144
"""The number of bytes up to which a text is parsed in one step, whatever it contains.

A text with few arrays and objects can have four times as many.
"""

JSON_CONTAINERS: Final = 25_000
"""The largest number of arrays and objects that are parsed in one step. They cost the most time; so many take 5 ms."""

JSON_PIECE: Final = 32_768
"""The approximate number of bytes in a piece of a large text."""

JOINED_CHARACTERS: Final = 4 * 1024 * 1024
"""The characters of a string that is joined in one step. Only contents of attachments can be longer."""

WRITTEN_VALUES: Final = 100
"""The scalar members or items that are encoded as JSON in one step, and the small items of an array likewise."""
