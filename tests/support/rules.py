"""A pack of one rule, by its name and the word that it is about."""

from __future__ import annotations

RULE = """\
[[rule]]
name = "{name}"
pattern = '{word}'
applies_to = ["input"]
risk = "medium"
action = "ask"
explanation = "This word is not wanted here; leave it out."
matches = ["{word}"]
passes = ["something else"]
"""
