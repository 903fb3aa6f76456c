"""JSON as CouchDB reads and writes it, within limits, and large texts in pieces.

There are four doors: ``parse`` reads the texts of requests, ``large_document`` reads a document, ``writer`` writes, and
``incremental`` takes large texts apart and frees what was made of them. Nothing here waits, or knows a database.
"""
