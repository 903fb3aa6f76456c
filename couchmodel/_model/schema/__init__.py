"""Declarations: the base of models, their fields and expressions, and the state of a document. No I/O is done here.

- ``base`` is the class and its metaclass; ``declaration``, ``kinds``, ``indexes``, ``ids`` and ``versions`` are what
  its keywords say, and ``checks`` refuses what cannot work.
- ``field_options``, ``fields``, ``links`` and ``hooks`` are what stands in a class.
- ``expressions`` has fields as they stand in queries, and conditions; ``annotations`` tells what a field contains.
- ``state`` is what a document knows of its stored revision.
"""
