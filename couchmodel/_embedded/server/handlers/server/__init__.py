"""The endpoints of the server itself: sessions, configuration, cluster, replications."""
