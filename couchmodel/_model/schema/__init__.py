"""Declarations: the base of models, their fields and expressions, and the state of a document. Nothing here waits."""
