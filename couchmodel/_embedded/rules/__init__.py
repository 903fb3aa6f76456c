"""CouchDB's rules as pure functions: revision trees and ids, collation, security objects, parameters."""
