"""Documents: how they are stored, read and written, with their attachments and validation functions."""
