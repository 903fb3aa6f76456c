"""Documents of a model in a database: the repository, its bindings, and attachments. Only this room waits for one."""
