"""Views and Mango indexes: design documents, their map and reduce functions, and the stored rows of their indexes.

- ``designs`` parses design documents, ``params`` the parameters of a query, ``mango_indexes`` the indexes of ``_find``.
- ``map``, ``reduce`` and ``builtin_reduce`` make rows of documents, and values of rows; ``declared`` makes the rows of
  a declared view without JavaScript.
- ``builder`` brings an index up to date. ``writer`` writes its rows, and ``reader`` reads them.
- ``counts`` keeps row counts, by which ``reader`` knows how many rows are in a range without reading them.
"""
