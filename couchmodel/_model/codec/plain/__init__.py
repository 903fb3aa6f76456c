"""Documents of which it is known, without reading their text again, that they would be read as they are.

A save reads the text that it is about to store, and compares the result with the document. That costs more than to
write the text. For models of plain fields there is a check of the document's own values in place of it.

- ``values`` has the checks of values, by their types.
- ``schemas`` makes the check of a model of its core schema, or finds that the model has none.
"""
