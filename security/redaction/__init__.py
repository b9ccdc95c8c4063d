"""Private values out of a text, placeholders in; and back again."""
