"""Rule packs: TOML files of rules that prove themselves by their own examples before they are used.

A file holds `[[rule]]` tables and, if it likes, one `[parts]` table of named fragments that its patterns use as
`{{name}}`. A pattern in lower case ignores case, a pattern with capitals asks for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Self

from security.matching import MatcherError, matcher
from security.pack_files import Stamp, Written, files, read, stamps
from security.rule import Rule
from security.rulebook import Rulebook
from switchtower.errors import RuleError
from switchtower.models import Frozen, Surface

RULES = Path(__file__).parent / "rules"


class RulePack(Frozen):
    """A set of rules that was read and proved as a whole."""

    rules: tuple[Rule, ...]
    paths: tuple[Path, ...] = ()
    stamps: tuple[Stamp, ...] = ()
    """The files as they were just before they were read."""

    @classmethod
    def load(cls, paths: Iterable[Path] = (RULES,)) -> Self:
        """Read files, and all `*.toml` of folders, or raise a RuleError that says where and why."""
        given = tuple(Path(path) for path in paths)
        before, written = stamps(given), dict[str, Written]()
        for one in chain.from_iterable(map(read, files(given))):
            same = written.setdefault(one.rule.name, one)
            if same is not one:
                raise RuleError(f"{one.place()}: rule `{one.rule.name}` is already defined at {same.place()}")
        if not written:
            raise RuleError(f"{', '.join(map(str, given)) or 'no path'}: no rules; an empty pack would pass everything")
        pack = cls(rules=tuple(one.rule for one in written.values()), paths=given, stamps=before)
        _prove(pack, written.values())
        return pack

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what the rules say, whatever their order, files and comments."""
        rows = sorted((_canonical(rule) for rule in self.rules), key=lambda row: str(row["name"]))
        return hashlib.sha256(json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @cached_property
    def book(self) -> Rulebook:
        """The rules, compiled."""
        return Rulebook(self.rules)

    def on(self, surface: Surface) -> tuple[Rule, ...]:
        """The rules that apply to a surface."""
        return tuple(rule for rule in self.rules if surface in rule.applies_to)


def _canonical(rule: Rule) -> dict[str, object]:
    row: dict[str, object] = rule.model_dump(mode="json")
    return {**row, "applies_to": sorted(rule.applies_to)}


def _prove(pack: RulePack, written: Iterable[Written]) -> None:
    """Raise a RuleError for the first rule that does not compile or does not do what its examples say."""
    try:
        book = pack.book
    except MatcherError as error:
        raise _culprit(written, error) from error
    for one in written:
        for field, wanted in (("matches", True), ("passes", False)):
            for number, example in enumerate(getattr(one.rule, field), start=1):
                _try(book, one, field, number, example, wanted)


def _try(book: Rulebook, one: Written, field: str, number: int, example: str, wanted: bool) -> None:
    for surface in sorted(one.rule.applies_to):
        if (one.rule.name in book.hits(example, surface)) is not wanted:
            verb = "does not match" if wanted else "matches"
            said = f"example {number} of `{field}` {verb} on {surface}"
            raise RuleError(f"{one.place(field)}: rule `{one.rule.name}`: {said}")


def _culprit(written: Iterable[Written], error: MatcherError) -> RuleError:
    """The error of the rule that does not even compile alone, or that of all of them."""
    for one in written:
        try:
            matcher((one.rule.spelled,))
        except MatcherError as alone:
            reason = f"pattern: the pattern does not compile: {alone}"
            return RuleError(f"{one.place('pattern')}: rule `{one.rule.name}`: {reason}")
    return RuleError(f"The rules do not fit into one matcher: {error}")
