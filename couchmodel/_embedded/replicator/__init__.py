"""The replications that a store runs itself, for requests to ``_replicate`` and documents of ``_replicator``."""
