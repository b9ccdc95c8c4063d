"""The guardrail room: what may enter the line, what may leave it, and which rule says so."""
