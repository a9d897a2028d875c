"""pullgate.envoy.v3: the part of Envoy's external authorization protocol that is read and written, and its stubs."""
