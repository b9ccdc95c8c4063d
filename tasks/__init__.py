"""The line: what happens to a message at each station."""
