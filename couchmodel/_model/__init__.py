"""Typed documents: models, queries, attachments, and the repositories that store them through the engine.

- ``model`` has ``CouchModel`` and the connection, ``mixins`` its optional base classes.
- ``schema`` has what a class declares: fields, links, hooks, versions; ``attachments`` fields with files.
- ``codec`` converts between documents and JSON, and merges versions.
- ``query`` and ``views`` read documents, ``guard`` writes the rules that the database checks.
- ``store`` has the repository, and sends all requests.
"""
