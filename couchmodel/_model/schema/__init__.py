"""Declarations: the base of models, their fields and expressions, and the state of a document. No I/O is done here.

- ``base`` is the class and its metaclass. ``declaration``, ``kinds``, ``indexes`` and ``ids`` are its keywords, and
  ``checks`` refuses what cannot work.
- ``field_options``, ``fields``, ``attachments``, ``links`` and ``hooks`` are declared in the body of a class.
- ``expressions`` has fields as they stand in queries, and conditions. ``annotations`` tells the type of a field.
- ``members`` are stored beside the fields. ``state`` is what a document knows of its stored revision.
"""
