"""Serves decisions: stores, category sources, caches, the gRPC services, and the root that puts them together."""
