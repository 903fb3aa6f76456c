"""Links: fields that hold the ids of other documents, and their descriptors on models."""
