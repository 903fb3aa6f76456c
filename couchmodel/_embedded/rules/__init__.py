"""CouchDB's rules as pure functions: revision trees and ids, collation, security objects, parameters.

``revision_ids`` hashes Erlang terms, which ``erlang_binary`` writes as bytes, and ``erlang`` as the text of messages.
``collation`` orders JSON values, and ``string_collation`` the strings among them.
"""
