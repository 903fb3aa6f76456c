"""Between models and JSON: how a model is written, what has changed, and what is merged into what was loaded."""
