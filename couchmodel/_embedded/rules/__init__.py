"""CouchDB's rules as pure functions: revision trees and ids, the order of values, security objects, parameters."""
