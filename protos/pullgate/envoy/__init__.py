"""Protocols of Envoy, as far as pullgate speaks them."""
