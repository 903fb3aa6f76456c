"""The replications that a store runs by itself, by request and by document."""
