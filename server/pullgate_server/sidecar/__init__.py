"""The sidecar: the server's own decisions, made from what another server tells instead of from a database."""
