"""Authentication of requests: users, passwords, session cookies and JSON Web Tokens.

``authentication`` tries the methods in turn. ``cookies``, ``tokens`` and ``passwords`` know the formats of one method
each, ``users`` the documents of ``_users``, and ``lockout`` counts wrong passwords.
"""
