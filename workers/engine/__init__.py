"""The local engine: many requests, one model, one step at a time."""
