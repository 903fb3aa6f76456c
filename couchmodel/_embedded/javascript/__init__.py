"""JavaScript of design documents: the processes it runs in, and what a function sees around itself."""
