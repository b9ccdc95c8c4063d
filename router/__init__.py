"""Choosing a model: what a request needs, who can serve it, and which of them gets it."""
