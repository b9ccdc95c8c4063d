"""Keys and passwords, by the guardrail's own rules for secrets; here it matters where they stand.

A rule's match may begin before the value (`password = `) and end inside it (the first letter of a private key): what
labels the value stays in the text, and the value is taken to where it ends. Beside the rules, whatever a label calls
a secret and looks like one is taken: a false redaction costs little, since it is undone in the answer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from security.pack_files import read
from security.packs import RULES
from security.redaction.entities import Entity, Kind
from security.redaction.pattern import Pattern, any_of, compiled
from security.rule import VALUE, Rule, entropy

SECRETS = RULES / "secrets.toml"

_ASSIGNED = r"[\"']?[ \t]*(?::=|=>|=|:|[ ]is[ ])[ \t]*[\"'`]?"
_CALLED = any_of(
    "secret|token|passw(?:or)?d|passphrase|passcode|credential",
    "(?:api|access|auth|private|encryption|signing|shared)[_ -]?key",
)
_VALUE = r"[A-Za-z0-9+/=_~.@!#$%^&*-]"
_LAST = r"[A-Za-z0-9+/=_~@!#$%^&*-]"
_LABELLED = Pattern(
    Kind.SECRET, rf"{_CALLED}[A-Za-z0-9_]{{0,20}}{_ASSIGNED}({_VALUE}{{0,200}}\d{_VALUE}{{4,200}}{_LAST})", cued=True
)
_ADDRESSED = Pattern(
    Kind.SECRET,
    r"[A-Za-z][A-Za-z0-9+.-]{1,20}://([^\s/:@<>{}$\[\]]{1,64}:[^\s/:@<>{}$\[\]]{1,128})@",
    cued=True,
)
_PIN = Pattern(Kind.SECRET, r"\b(?i:pin|cvv|cvc|otp)(?i: code| number)?(?i: is|:|=)?[ ]{0,2}(\d{3,8})\b", cued=True)

_USER = compiled(r"^[A-Za-z][A-Za-z0-9+.-]*://([^\s/@]*)@")
_LABEL = compiled(rf"^[\"']?[A-Za-z][\w .-]{{0,80}}?{_ASSIGNED}(?:(?i:bearer|basic|token)[ \t]+)?([^\s/:=])")
_LABEL_CHARS = 256
_PEM_END = compiled(r"-----END [A-Z0-9 ]{1,40}-----")
_AROUND = " \t\r\n\"'`,;:=(."
_WORD = compiled(r"[A-Za-z0-9+/=_~.%-]*[A-Za-z0-9+/=_~]")


class Credentials:
    """Finds secrets as the rules of a file know them, and values that a label calls secret."""

    def __init__(self, rules: Path = SECRETS) -> None:
        self._rules = [_Form(written.rule) for written in read(rules)]
        self._own = tuple(pattern.ready() for pattern in (_LABELLED, _ADDRESSED, _PIN))

    def find(self, text: str) -> Iterator[Entity]:
        """The secrets in a text."""
        ends = _Ends(text)
        for form in self._rules:
            yield from form.find(text, ends)
        for search in self._own:
            yield from search.find(text)


class _Form:
    """A rule that knows one form of secrets."""

    def __init__(self, rule: Rule) -> None:
        self._least = rule.min_entropy or 0
        self._regexp = compiled(rule.spelled)
        self._group = self._regexp.groupindex.get(VALUE, 0)

    def find(self, text: str, ends: _Ends) -> Iterator[Entity]:
        for match in self._regexp.finditer(text):
            if entropy(match.group(self._group) or match.group()) < self._least:
                continue
            if self._group and match.start(self._group) >= 0:
                start, end = match.span(self._group)
                yield Entity(start, ends.of_word(end), Kind.SECRET, cued=True)
            else:
                yield _secret(text, match.start(), match.end(), ends)


class _Ends:
    """Where secrets end; a text's words are looked up once, however many secrets there are."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _words(self) -> list[tuple[int, int]]:
        return [match.span()[::-1] for match in _WORD.finditer(self._text)]

    @cached_property
    def _keys(self) -> list[int]:
        return [match.end() for match in _PEM_END.finditer(self._text)]

    def of_word(self, end: int) -> int:
        """The end of the word that reaches over this place, or the place itself."""
        place = bisect_left(self._words, (end,))
        last, first = self._words[place] if place < len(self._words) else (end, end)
        return last if first < end else end

    def of_key(self, end: int) -> int:
        """The end of a private key that begins before this place; without a last line, the end of the text."""
        place = bisect_left(self._keys, end)
        return self._keys[place] if place < len(self._keys) else len(self._text)


def _secret(text: str, start: int, end: int, ends: _Ends) -> Entity:
    """The secret inside a match that does not name it: without its label, without the host of its address."""
    matched = text[start : min(end, start + _LABEL_CHARS)]
    if user := _USER.search(matched):
        return Entity(start + user.start(1), start + user.end(1), Kind.SECRET, cued=True)
    label = _LABEL.search(matched)
    first = start + (label.start(1) if label else len(matched) - len(matched.lstrip(_AROUND)))
    last = start + len(text[start:end].rstrip(_AROUND))
    end = ends.of_key(last) if "PRIVATE KEY" in matched else ends.of_word(last)
    return Entity(first, end, Kind.SECRET, cued=True)
