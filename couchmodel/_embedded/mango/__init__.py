"""The pure part of Mango queries: selectors, plans and projections. Nothing here reads a store."""
