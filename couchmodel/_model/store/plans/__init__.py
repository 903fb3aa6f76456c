"""Plans: what has to change in a database so that it is as its models declare, and the steps that change it."""
