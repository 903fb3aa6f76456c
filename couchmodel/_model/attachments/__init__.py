"""Attachments as typed fields of a model: what is assigned to them, what is stored, and how both become values.

Files that are assigned are kept beside the document until it is saved, and are sent with it.
"""
