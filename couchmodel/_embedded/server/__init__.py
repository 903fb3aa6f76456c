"""The server's side of requests: HTTP, routes, permissions, and what goes in and out. It alone knows endpoints."""
