"""Views of models: declared by fields, or written in JavaScript, with typed keys, values and groups.

A declared view is stored as JavaScript, which CouchDB runs, with its declaration beside it, which the embedded store
follows instead: ``_wire.declared_views`` is the format, and ``_embedded.views.declared`` makes the rows. Nothing here
sends requests by itself: a view that is bound to a model asks the model's repository.
"""
