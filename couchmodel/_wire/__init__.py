"""The vocabulary of CouchDB that client and server share.

It does no I/O, and does not know which of the two uses it.
"""
