"""The upkeep of a store: purges, compaction, checks, copies."""
