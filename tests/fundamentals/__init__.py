"""A tutorial that runs: read the files in the order of their numbers."""
