"""The gRPC face: what every call passes, the services, and the statuses that errors travel as."""
