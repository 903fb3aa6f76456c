"""Every limit of the store: how large is too large, how long is too long, and how much is done at once.

Two reasons come again and again. Python runs one thread at a time, and a step in C or Rust, such as parsing a JSON
text, ends before another thread gets its turn: the event loop, which has to answer everybody, must not wait for longer
than 20 milliseconds (``benchmarks/lag.py``). And the memory of a process is shared by all requests.

Each limit is followed by its reason, or by the setting of CouchDB whose default it is.
"""

from typing import Final

# What is larger than these is refused with 413, or as CouchDB refuses it. Sizes are in bytes.

REQUEST_BYTES: Final = 4 * 1024**3  # any request: max_http_request_size; attachments may be so large
DOCUMENTS_BYTES: Final = 128 * 1024**2  # a body of documents; clients put photos inside, base64-encoded
BODY_BYTES: Final = 8 * 1024**2  # any other JSON: its value may take twenty times as much memory
BODY_VALUES: Final = 250_000  # values in such a body, all of which live until the response
BULK_DOCUMENTS: Final = 500_000  # of _bulk_docs: the smallest takes half a kilobyte until all of them are written
LINE_BYTES: Final = 65_536  # the request line, or a header: room for a query string with many keys
LOGIN_BYTES: Final = 65_536  # a body with a name and a password: everybody may send one

QUERY_BYTES: Final = 256 * 1024  # a selector with what belongs to it, or a security object: parsed in one step
QUERY_PARTS: Final = 5000  # its arrays, objects and members: a condition makes some twenty objects, freed in one step
QUERY_FIELDS: Final = 1000  # paths in each of `fields` and `sort`: each costs time for each document
PATTERN_CHARACTERS: Final = 65_536  # of a regular expression, comments included
PATTERN_SIZE: Final = 32_768  # with counted repetitions written out, as the compiler does; CouchDB: 64 KiB compiled

DOCUMENT_BYTES: Final = 8_000_000  # a document without its attachments: max_document_size
ATTACHMENT_BYTES: Final = 1024**3  # an attachment before compression: max_attachment_size
FORM_BYTES: Final = 6 * DOCUMENT_BYTES  # fields of a form that are no files: an escaped character of JSON takes six
SPECIAL_VALUES: Final = 100_000  # values in a document's special members, which become Python objects at once
OWN_DOCUMENT_VALUES: Final = 50_000  # values in a design or system document, or one that repeats a name: likewise

DATABASE_NAME_BYTES: Final = 238  # as in CouchDB
DATABASE_INFOS: Final = 100  # names in one request to _dbs_info: max_db_number_for_dbs_info_req
LARGEST_NUMBER: Final = 2**59 - 1  # the largest limit that CouchDB accepts; SQLite's integers have 64 bits
PURGED_DOCUMENTS: Final = 100  # in one request to _purge: max_document_id_number
PURGED_REVISIONS: Final = 1000  # likewise: max_revisions_number
RANGES: Final = 9  # of one request: for more, CouchDB sends the whole attachment
UUIDS: Final = 1000  # of one request to _uuids: max_count
DEFAULT_LIMIT: Final = 25  # documents of a query that gives no limit: as in CouchDB
EXAMINED_PER_RESULT: Final = 10  # documents for each result, above which a query has a warning: as in CouchDB

LOCKOUT_FAILURES: Final = 5  # wrong passwords until a user is locked out: CouchDB's default
LOCKOUT_COUNTS: Final = 10_000  # users whose wrong passwords are counted: CouchDB's default
REMEMBERED_PASSWORDS: Final = 4096  # and as many users
PASSWORD_ROUNDS: Final = 600_000  # of a hash: CouchDB's default; they take 150 ms, so never in the event loop
MOST_PASSWORD_ROUNDS: Final = 1_000_000_000  # of a hash that is accepted: max_iterations

# What takes longer than these ends, or makes room for others. Times are in seconds.

QUERY_SECONDS: Final = 60.0  # until a query finds its next document: request_timeout
VALIDATION_SECONDS: Final = 60.0  # all validation functions of one request: likewise
VALIDATION_ATTEMPTS: Final = 5  # of a write, with the validation functions of the moment
REGEX_SECONDS: Final = 1.0  # one $regex on one value, where CouchDB calls it no match after ten million steps
SHORTEST_REGEX_SECONDS: Final = 0.001  # that the package `regex` is given: it takes 0 for no limit
FEED_SECONDS: Final = 60.0  # until a feed without changes ends: changes_timeout
LONGEST_HEARTBEAT: Final = 86_400.0  # between two heartbeats: an event loop cannot wait for any length of time
HEAD_SECONDS: Final = 75.0  # until the head of a request arrives, on a new connection or behind a response
BODY_SECONDS: Final = 300.0  # until the next piece of a body arrives: CouchDB waits as long
GRACE_SECONDS: Final = 3.0  # for running requests when the server is closed
SESSION_SECONDS: Final = 600  # the cookie of a session: timeout
LOCKOUT_SECONDS: Final = 300.0  # from the first wrong password until its count is forgotten: CouchDB's default
LOCK_SECONDS: Final = 60.0  # while another program has the file of the store locked
LOCK_FILE_SECONDS: Final = 1.0  # while another process has the store: it may be ending, as on a reload
BACKOFF_SECONDS: Final = 5.0  # until a failed replication begins again for the first time; they double each time
LONGEST_BACKOFF_SECONDS: Final = 8 * 3600.0  # likewise, at most
REPLICATOR_SECONDS: Final = 3600.0  # until _replicator is read again; a change ends the wait

TURN_SECONDS: Final = 0.1  # until a read leaves the reading thread to others
UNBROKEN_SECONDS: Final = 0.005  # until a thread with many calls of SQLite pauses: Python's switch interval
PAUSE_SECONDS: Final = 0.000_05  # the pause: long enough for another thread to take the interpreter lock
CALL_SECONDS: Final = 0.1  # the processor in a call of JavaScript: a slower function gets documents one by one
REUSE_SECONDS: Final = 1.0  # until an unused process is handed over; one starts in 40 ms, a context in 1 ms
POOL_TICK_SECONDS: Final = 0.25  # between two checks of the processes

# What is more than these leaves the event loop for a thread.

INLINE_SECONDS: Final = 0.005  # a read
INLINE_NANOSECONDS: Final = 1_000_000  # a read in SQLite
INLINE_VALIDATION_SECONDS: Final = 0.001  # validation functions inside a transaction, while nobody else can write
LARGE_BODY: Final = 65_536  # bytes to parse, to free and to write
KNOWN_QUERIES: Final = 256  # queries of at most INLINE_QUERY_BYTES whose plans are kept, of a database
KNOWN_ANSWERS_BYTES: Final = 1024**2  # answers to such queries that are kept until the database changes
KNOWN_ANSWER_BYTES: Final = 65_536  # each of them
INLINE_QUERY_BYTES: Final = 1024  # a query to parse: a regular expression takes as long as a hundred times as much JSON
INLINE_JSON_BYTES: Final = 131_072  # documents to parse for a query
INLINE_DESIGN_BYTES: Final = 16_384  # a design document whose selectors are compiled
INLINE_TREE_BYTES: Final = 65_536  # a revision tree: about a thousand conflicts
INLINE_BASE64_BYTES: Final = 262_144  # attachments to encode
INLINE_PIECE_BYTES: Final = 16_384  # a piece of an attachment to compress and hash
INLINE_JOINED_BYTES: Final = 4 * 1024**2  # parts of a response to join
INLINE_DOCUMENTS: Final = 20  # of one request, to be written as a single document would be
INLINE_ROWS: Final = 50  # to read, and to skip
INLINE_FOUND: Final = 101  # documents of a query, and those that it skips: the largest page of a web API, and one more
INLINE_EXAMINED: Final = 200  # rows of a query that are examined
INLINE_SIZES: Final = 4  # documents to measure: each look-up may wait for the interpreter lock while threads work
INLINE_REVISIONS: Final = 20  # documents and revisions of one request of a replicator
INLINE_OPEN_REVISIONS: Final = 100  # revisions of one document
PIPE_BYTES: Final = 16 * 1024  # a request that a pipe takes without blocking the writer
REFUSED_CALLS: Final = 50  # calls behind a late one, which will hardly be any faster
ROWS_PER_LOOK: Final = 16  # rows of a query until somebody looks at the clock, where a row costs a microsecond
READS_PER_LOOK: Final = 16  # reads until somebody looks whether the event loop is due a turn
WATCHES_WOKEN: Final = 20  # waiting feeds in one turn of the event loop
CHUNKS_PER_TURN: Final = 8  # chunks of an attachment in one turn of the event loop

# So much is done in one step. Other threads wait meanwhile, for a few milliseconds.

LARGE_JSON: Final = 262_144  # bytes parsed, whatever they contain; with few arrays and objects four times as many
JSON_CONTAINERS: Final = 25_000  # arrays and objects parsed: they cost the most time, 5 ms
JSON_PIECE: Final = 65_536  # bytes in a piece of a larger text
JOINED_CHARACTERS: Final = 8 * 1024**2  # of a string: only contents of attachments can be longer
WRITTEN_BRANCHES: Final = 1000  # of a revision tree, written as JSON
BUFFERED_BYTES: Final = 1024**2  # of a body that is received before the router sees it: a longer one streams
WRITTEN_BYTES: Final = 524_288  # of a response, handed to the socket
CHECKED_VALUES: Final = 100  # items of an array, tested between two looks at the clock
CLOCK_STEPS: Final = 1000  # instructions of SQLite's virtual machine between two looks at the clock: 20 microseconds
COLLATED_UNITS: Final = 2000  # units, weights or keys
ERLANG_BYTES: Final = 4096  # written as an Erlang term
HASHED_PARTS: Final = 20_000  # parts of a term
NAME_SETS: Final = 64  # sets for the names of an object: a single large one would take long to grow and to free
SORTED_DOCUMENTS: Final = 10_000  # documents of a bulk write
LOOKED_UP_DOCUMENTS: Final = 100  # documents of a bulk write, by one statement

# So much is done in one batch or transaction. Other jobs wait meanwhile.

BATCH_BYTES: Final = 524_288  # of rows that are read
BATCH_ROWS: Final = 1000  # that are read
BATCH_EXAMINED: Final = 5000  # rows that are examined
BATCH_ASKED: Final = 50  # documents for one call of a filter function
BATCH_SPANS: Final = 1000  # ranges of keys of a view
BULK_GET_DOCUMENTS: Final = 100
BULK_GET_BYTES: Final = 1024**2  # the last document may go beyond them
BUILD_DOCUMENTS: Final = 400  # of the build of an index
BUILD_BYTES: Final = 1024**2
BUILD_ROWS: Final = 100  # inserted by one statement
MAPPED_DOCUMENTS: Final = 100  # for one call of a mapper
CALL_DOCUMENTS: Final = 100  # for one call of JavaScript
CALL_BYTES: Final = 1024**2  # likewise, unless one document is larger
REDUCED_RESULTS: Final = 100  # partial results that are rereduced to one
SMALL_GROUP: Final = 500  # rows of a group that are reduced one by one
SUMMED_ROWS: Final = 200_000  # of groups that are reduced by one read
BLOCK_ROWS: Final = 2000  # rows of an index that are counted together; a larger block is divided
SHARED_COMMITS: Final = 128  # jobs that share a commit
CLEARED_DOCUMENTS: Final = 200  # of a dropped database
CLEARED_ROWS: Final = 2000  # of a dropped index
COMPACTED_DOCUMENTS: Final = 200
COPIED_PAGES: Final = 1024  # of a backup, between two calls of the progress callback
SAMPLED_DOCUMENTS: Final = 32  # measured for the size of a database: each costs two look-ups
SAMPLED_REVISIONS: Final = 8  # superseded revisions of each
SAMPLE_AGE: Final = 20  # a database is measured again after more changes than one SAMPLE_AGE-th of its documents
OPEN_QUESTIONS: Final = 5000  # for validation functions: they limit the memory of a request
OPEN_QUESTION_BYTES: Final = 4 * 1024**2
CHUNK_BYTES: Final = 262_144  # of an attachment, one row of the table `chunk`
STAGED_BYTES: Final = 4 * CHUNK_BYTES  # of an arriving attachment that wait in memory

# So often something is tried, and so much is kept.

VIEW_RESTARTS: Final = 3  # of a group whose index has changed; after that it is read without a pause
STATE_ATTEMPTS: Final = 5  # to write a replication's state into its document, which others may write at the same time
JOB_EVENTS: Final = 20  # of a replication: max_history
KEPT_CONTEXTS: Final = 16  # functions of a database that are ready for the next call
CACHED_STATEMENTS: Final = 256  # prepared statements of a connection
KNOWN_KEYS: Final = 4096  # names of members whose terms are kept
KNOWN_KEY_CHARACTERS: Final = 64  # of such a name
SEARCHED_BRANCHES: Final = 4  # up to which a search is faster than an index of their revisions
