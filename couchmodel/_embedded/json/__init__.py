"""JSON as CouchDB reads and writes it, within limits, and large texts in pieces.

There are four entry points: ``parse`` reads the texts of requests, ``large_document`` reads a document, ``values``
reads what is stored and frees it again, ``writer`` writes. Below them, ``decode`` parses a small text, and ``cutter``
tells which texts are large, and cuts them. Nothing here waits, or knows a database.
"""
