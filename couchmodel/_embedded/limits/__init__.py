"""How long work may take, how much is much, and when others get a turn."""
