"""Conversion between models and JSON: serialization, detection of changes, and their merge into the stored document."""
