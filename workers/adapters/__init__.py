"""Adapters: what stands on the shelf, what is loaded, and who uses it."""
