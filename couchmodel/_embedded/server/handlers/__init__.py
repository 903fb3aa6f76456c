"""The endpoints: a function for each method of each, a folder for each family."""
