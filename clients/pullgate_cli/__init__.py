"""The command line, `pullgate`."""
