"""Queries as values: conditions, an order and limits, and their translation to a Mango selector.

- ``query`` is the query, ``source`` the part of the repository that it knows. ``selector``, ``ordering`` and
  ``id_bounds`` translate it.
- ``indexes`` chooses the index before a query is sent, and advises where none serves. ``implication`` says when a
  partial one may serve.
- ``readers`` make results of rows; ``pages``, ``prefetch``, ``aggregates`` and ``back_links`` build on them.
- ``changes`` and ``assignments`` change all documents of a query.
"""
