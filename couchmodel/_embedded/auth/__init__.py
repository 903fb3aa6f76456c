"""Authentication of requests: users, passwords, session cookies and JSON Web Tokens."""
