"""Models in modules that import each other for type checkers only."""
