"""The handlers of the server's own endpoints: sessions, configuration, cluster, replications."""
