"""Queries as values: conditions, an order and limits, and their translation to a Mango selector."""
