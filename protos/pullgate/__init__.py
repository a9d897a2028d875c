"""The wire contract of pullgate. `pullgate.v1` holds the messages and stubs of its first version."""
