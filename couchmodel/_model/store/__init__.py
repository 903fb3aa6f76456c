"""Storage of documents: the repository of a model, its binding to a database, and attachments.

- ``repository`` has all verbs, ``documents`` those that load and save; ``bulk``, ``hooked``, ``delete_rules`` and
  ``linked`` help them.
- ``edits`` merges with what others have changed; ``revisions`` has the versions of a document after a fork.
- ``plan``, ``view_plan``, ``guard_plan`` and ``steps`` bring a database to what models declare; ``migration`` its
  documents.

Of the packages of ``_model``, only this one sends requests.
"""
