"""Documents: how they are stored, read and written, with their attachments and validation functions.

- ``incoming`` parses the document of a request, ``parents`` finds the revision that it continues.
- ``writer`` writes revisions, ``document_table`` their rows and trees. ``reader`` reads them, ``local`` does both for
  local documents.
- ``attachments`` stores contents, ``attachment_encoding`` compresses them by gzip and makes their digests.
- ``validation`` finds the functions that check a write, ``verdicts`` runs them, and ``checked_writes`` repeats the
  write when they have answered. ``design_functions`` calls all other functions that a request names.
- ``sizes`` estimates the size of a database.
"""
