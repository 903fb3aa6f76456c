"""The endpoints of one document and its attachments."""
