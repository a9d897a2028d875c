"""Where policies, pins and tokens are kept: the port, and its implementations."""
