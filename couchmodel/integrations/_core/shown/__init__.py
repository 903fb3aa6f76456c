"""The forms in which clients see documents.

- ``documents`` makes the form of one document.
- ``rows`` makes those of a list, and keeps them by the texts that are stored.
"""
