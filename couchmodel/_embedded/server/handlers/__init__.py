"""The handlers of the endpoints: a function for each method, a package for each of server, database and document.

Modules have the names of endpoints where they can. Besides, ``database/revs_diff`` also answers ``_missing_revs``,
``database/index`` is for Mango indexes, ``server/session`` logs in and out, ``server/web_interface`` serves ``_utils``,
``document/document`` has COPY, and ``document/attachment_streams`` reads parts of attachments. ``server.routes`` is the
table of all of them.
"""
