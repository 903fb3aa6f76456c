"""The guard of a model: its constraints as JSON, the JavaScript that refuses what breaks them, and their limits."""
