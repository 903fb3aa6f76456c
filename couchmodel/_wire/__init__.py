"""The vocabulary of CouchDB that client and server share.

It does no I/O, and does not know which of the two uses it.

- ``messages`` has requests, responses and JSON, ``answers`` the errors of answers, ``reasons`` texts of CouchDB.
- ``revisions`` parses and orders revisions; only the server makes their ids. ``users`` names the user of a request.
- ``multipart``, ``gzip`` and ``contents`` carry attachments. ``equality`` compares JSON values.
- ``turns`` lets other tasks of an event loop run.
"""
