"""Mango queries without a store: selectors, plans, projections. Everything here is pure."""
