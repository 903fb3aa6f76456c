"""The upkeep of a store: purges, compaction, checks, copies, and the record of its events.

``check`` compares the rows of documents, ``index_check`` those of indexes. ``backup`` copies a store that is in use.
"""
