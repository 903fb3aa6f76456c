"""CouchDB's semantics on SQLite: a router that answers the requests that a CouchDB server answers.

- ``server`` has HTTP, routes and the handlers; ``auth`` users and sessions.
- ``queries`` reads many documents; ``documents`` reads, checks and writes single ones; ``views`` builds indexes.
- ``mango`` has selectors and the planner of ``_find``; ``rules`` revision trees and ids, collation and parameters.
- ``json`` reads and writes JSON within limits; ``storage`` has SQLite, its tables and its threads.
- ``javascript`` runs functions in processes; ``replicator`` runs replications; ``maintenance`` purges, compacts and
  checks.
- ``limits`` has every limit with its reason, ``budget`` the time of a piece of work, ``settings`` a server's options.
"""
