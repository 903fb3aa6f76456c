"""The handlers of the endpoints of one document and its attachments."""
