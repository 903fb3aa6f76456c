"""Reads of many documents. Each returns batches, and knows nothing of requests and answers.

There is one module for each kind: ``all_docs``, ``bulk_get``, ``changes`` (``filtered_changes`` with a function as the
filter), ``find``, ``revs_diff`` and ``view_rows`` (``grouping`` and ``large_groups`` for reduced views). The endpoints
are modules of the same names in ``server.handlers.database``.
"""
