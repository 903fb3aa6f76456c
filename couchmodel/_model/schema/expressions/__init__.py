"""Fields of a model as they stand in queries, and the conditions that are made of them.

- ``field_expressions`` are the attributes of a class: ``Recipe.rating``, ``Recipe.author.name``, ``Recipe.tags[0]``.
  Comparing one makes one of the ``conditions``. ``mapped`` is the annotation that type checkers see them by.
- ``places`` are what they stand for: a place in the stored document.
- ``paths`` reads the same from text: ``"author.name"``.
"""
