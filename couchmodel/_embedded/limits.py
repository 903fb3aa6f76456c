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

# Sizes from which on work leaves the event loop, or is done in pieces

LARGE_BODY: Final = 65_536
"""The number of bytes of a body from which on it is parsed, and freed, on a thread."""
