"""Rules in force: compiled for each surface, searched in every reading of a text."""

from __future__ import annotations

from collections.abc import Iterable

from security.matching import matcher
from security.normalize import Reading, read
from security.rule import Rule
from switchtower.models import Surface


class Rulebook:
    """Finds the rules that a text breaks; safe to share between threads."""

    def __init__(self, rules: Iterable[Rule], engine: str | None = None) -> None:
        """Raises MatcherError where the rules do not compile together."""
        known = tuple(rules)
        self._pages = {
            surface: _Page([rule for rule in known if surface in rule.applies_to], surface, engine)
            for surface in Surface
        }

    def hits(self, text: str, surface: Surface) -> dict[str, str]:
        """The names of the rules that match, and the first view of the text in which each did.

        Raises MatcherError where the engine cannot tell, UnicodeEncodeError for half characters.
        """
        return self._pages[surface].hits(text)


class _Page:
    """The rules of one surface."""

    def __init__(self, rules: list[Rule], surface: Surface, engine: str | None) -> None:
        self._rules = rules
        self._surface = surface
        self._matcher = matcher(tuple(rule.spelled for rule in rules), engine if rules else "re2")

    def hits(self, text: str) -> dict[str, str]:
        found: dict[str, str] = {}

        def look(reading: Reading) -> None:
            for place in self._matcher.search(reading.text):
                self._note(self._rules[place], reading, found)

        read(text, self._surface, look)
        return found

    def _note(self, rule: Rule, reading: Reading, found: dict[str, str]) -> None:
        if rule.name not in found and rule.confirms(reading.text):
            found[rule.name] = reading.view
