"""Reads of many documents. Each returns batches, and knows nothing of requests and answers.

There is one module for each kind: ``all_docs``, ``changes`` (``filtered_changes`` with a function as the filter),
``find``, ``view_rows`` (``grouping`` for reduced views), and ``revisions`` for what ``_revs_diff`` and
``_bulk_get`` look up. The endpoints are modules of the same names in ``server.handlers.database``.
"""
