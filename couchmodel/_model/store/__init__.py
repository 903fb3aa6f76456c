"""Storage of documents: the repository of a model, its binding to a database, and attachments.

- ``repository`` has all verbs: ``documents`` those for one document, ``many`` those for many, which are made of
  ``writes``, and ``changing`` those for changes and deletions.
- ``bulk`` has the results of bulk writes, and reads iterables; ``hooked``, ``linked`` and ``overwriting`` help the
  verbs.
- ``edits`` merges with what others have changed; ``revisions`` has the versions of a document after a fork, and its old
  ones; ``deletions`` has tombstones, purges and the rules of links, ``feeds`` the changes.
- ``plans`` brings a database to what models declare; ``migration`` its documents.

Of the packages of ``_model``, only this one sends requests.
"""
