"""Reads of many documents. Each returns batches, and knows nothing of requests and answers."""
