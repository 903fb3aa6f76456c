"""The changes of a database as changes of models, and consumers that remember how far they have come."""
