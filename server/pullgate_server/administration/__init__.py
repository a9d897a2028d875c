"""Reads and changes what decisions are made from: one module for each sort of thing. Knows nothing of gRPC.

A write is visible to the next decision before it is acknowledged. Should the store vanish right after the commit, the
write is acknowledged all the same, and becomes visible when the store is back.
"""
