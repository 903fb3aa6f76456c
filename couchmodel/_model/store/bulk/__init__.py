"""What bulk reads and writes are made of: iterables in chunks, reads by many ids, and the results of writes."""
