"""Clients that use a store for minutes while it is watched: ``python -m tests.soak --minutes 10 --clients 50``.

By default the store is a file in a temporary folder, behind a server in a process of its own. ``--url`` names another:
``memory:`` or ``sqlite:FILE`` for one in this process, or the address of a server, which is then not watched.

It ends with a line of figures. It fails, with a list of what has happened, where a client was answered with an error
that it did not expect or a document was not as it was written; where the server logged a warning, held its loop for
more than ``--max-lag`` milliseconds or answered nothing for half a minute; where memory or handles grow; and where the
file is not whole afterwards.
"""
