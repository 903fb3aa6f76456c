"""The server: HTTP, routes, permissions, request bodies and responses. No other package knows the endpoints."""
