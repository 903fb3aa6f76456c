"""The endpoints: one function each, a module for each family. They know requests and answers, and no SQL."""
