"""Conversion between models and JSON, and what a document has to be stored.

- ``rules`` and ``forms`` make the stored form of a class; ``decimals`` and ``instants`` are two of its types.
- ``codec`` loads, dumps, and makes the text to send, also that of a deletion; ``merge`` puts changes into the stored
  text, ``changes`` tells of unsaved ones, ``upgrading`` brings a text of an older version up to date.
- ``fidelity`` and ``unwritable`` find what would not be read again as it is. ``plain`` knows of many documents, without
  reading them, that nothing is to be found.
- ``three_way`` merges two versions of a document, for edits and for conflicts.
"""
