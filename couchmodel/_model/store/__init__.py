"""Storage of documents: the repository of a model, its binding to a database, and attachments.

Of the packages of ``_model``, only this one sends requests.
"""
