"""The input and output of the engine: sessions, answers, rows, uploads and downloads. Nothing here knows documents."""
