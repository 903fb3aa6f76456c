"""A server that is killed while clients use it, again and again: ``python -m tests.kills --rounds 200``.

After each kill the file has to be whole as it was left, and the next server on it has to have every write that was
acknowledged. The clients go on with the same file; now and then they begin with a new one. A kill comes at any moment:
while the server starts, too.

It ends with a line of figures, and fails with a list of what was lost or broken.
"""
