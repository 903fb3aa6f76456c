"""Clients that do everything with a store at once and check what they read, and a server that is watched meanwhile.

``tests.soak`` lets them go on for minutes, ``tests.kills`` kills the server again and again.
"""
