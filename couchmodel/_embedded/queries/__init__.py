"""Reads of many documents. Each returns batches, and knows nothing of requests and answers.

There is one module for each kind: ``all_docs``, ``changes`` (``filtered_changes`` with a function as the filter),
``find``, ``view_rows`` (``grouping`` for reduced views), ``bulk_get`` and ``revs_diff``. The endpoints are modules of the same names in ``server.handlers.database``.
"""
