"""What the engine sends and receives: requests by a session, answers, rows, uploads and downloads. No documents."""
