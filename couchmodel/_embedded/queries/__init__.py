"""Reads of many documents: each returns batches, and knows of no request and no answer."""
