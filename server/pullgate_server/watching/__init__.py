"""Tells subscribers what decisions are made from, and every change of it. Knows nothing of how it travels."""
