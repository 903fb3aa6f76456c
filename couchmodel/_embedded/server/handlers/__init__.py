"""The handlers of the endpoints: a function for each method, a package for each of server, database and document."""
