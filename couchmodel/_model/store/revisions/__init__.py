"""The revisions of one document: its versions after a fork, their merges, and writes whose outcome is in doubt."""
