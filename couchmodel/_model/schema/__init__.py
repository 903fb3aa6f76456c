"""Declarations: the base of models, their fields and expressions, and the state of a document. No I/O is done here."""
