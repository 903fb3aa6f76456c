"""The members that models add to their stored documents, beside those of fields.

- ``versions``: the version of the schema, and the upgrades of older documents.
- ``change_marks``: a mark that tells equal changes of two programs apart.
- ``tombstones``: what a tombstone keeps of the document that it deletes.
"""
