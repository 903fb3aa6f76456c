"""Who sends a request: users, passwords, sessions, tokens."""
