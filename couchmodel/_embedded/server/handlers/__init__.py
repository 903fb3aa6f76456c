"""The handlers of the endpoints: a function for each method, a package for each of server, database and document.

``database/revisions`` answers ``_revs_diff``, ``_missing_revs`` and ``_bulk_get``, ``server/session`` logs in and out,
``document/attachment_streams`` reads parts of attachments. ``server.routes`` is the table of all of them.
"""
