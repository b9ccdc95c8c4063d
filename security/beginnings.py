"""Where in a text that still grows a match may have begun that is not complete yet.

From a pattern follows the pattern of everything that it can begin with: of `ab{2,3}|c` that is `(?:ab{0,3})?|c?`.
Put before the end of the text (`\\z`), it finds the longest tail that may still become a match. RE2 reads such a
pattern backwards from the end, in time linear in the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import re2

MAX_MEM = 64 << 20
_CLOSED = {"*": None, "+": None, "?": 1}
_HEX = frozenset("0123456789abcdefABCDEF")


class NoBeginnings(ValueError):
    """The pattern is not of a form whose beginnings are known here."""


class Beginnings:
    """Finds where a match of any of the patterns may have begun; safe to share between threads."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises `NoBeginnings` where a pattern cannot be read or all of them are too much for RE2."""
        options = re2.Options()
        options.max_mem = MAX_MEM
        options.log_errors = False
        options.never_capture = True
        joined = "|".join(beginnings(pattern) for pattern in patterns)
        try:
            self._tail = re2.compile(f"(?:{joined})\\z", options=options)
        except re2.error as error:
            raise NoBeginnings(str(error)) from error

    def start(self, text: str) -> int:
        """The first place from which on the text may be the beginning of a match; its length where there is none."""
        found = self._tail.search(text)
        return found.start() if found else len(text)


def beginnings(pattern: str) -> str:
    """The RE2 pattern of all that this RE2 pattern's matches can begin with, the empty text and the whole included."""
    reader = _Reader(pattern)
    tree = reader.alternation()
    if reader.rest:
        raise NoBeginnings(f"unexpected {reader.rest[0]!r}")
    return tree.begun()


@dataclass
class _Atom:
    """One character, or a place between two where `wide` is false."""

    text: str
    wide: bool = True

    def whole(self) -> str:
        return self.text

    def begun(self) -> str:
        return f"{self.text}?" if self.wide else ""


@dataclass
class _Repeat:
    """Something up to so many times; `most` is None without a limit."""

    inner: _Atom | _Group
    text: str
    most: int | None

    def whole(self) -> str:
        return self.inner.whole() + self.text

    def begun(self) -> str:
        if self.most == 0 or not self.inner.begun():
            return ""
        if isinstance(self.inner, _Atom):
            return self.inner.text + _up_to(self.most)
        earlier = "" if self.most == 1 else self.inner.whole() + _up_to(self.most and self.most - 1)
        return earlier + self.inner.begun()


@dataclass
class _Group:
    """Alternatives, each a sequence."""

    head: str = "(?:"
    branches: list[list[_Atom | _Repeat | _Group]] = field(default_factory=list)

    def whole(self) -> str:
        return self.head + "|".join("".join(item.whole() for item in branch) for branch in self.branches) + ")"

    def begun(self) -> str:
        return self.head + "|".join(_sequence(branch) for branch in self.branches) + ")"


def _sequence(items: list[_Atom | _Repeat | _Group]) -> str:
    """Either the first item is begun, or it is whole and the rest is begun."""
    written = ""
    for item in reversed(items):
        begun = item.begun()
        if isinstance(item, _Atom):
            written = f"(?:{item.text}{written})?"  # a place too: whether it is one may depend on what is still to come
        elif written:
            written = f"(?:{item.whole()}{written}|{begun})"
        else:
            written = begun
    return written


def _up_to(most: int | None) -> str:
    return "*" if most is None else f"{{0,{most}}}"


class _Reader:
    """Reads RE2's syntax (https://github.com/google/re2/wiki/Syntax) as far as beginnings depend on it."""

    def __init__(self, pattern: str) -> None:
        self.rest = pattern

    def alternation(self, head: str = "(?:") -> _Group:
        group = _Group(head, [[]])
        flags: list[_Atom | _Repeat | _Group] = []
        while self.rest and self.rest[0] != ")":
            if self.rest[0] == "|":
                self._take(1)
                group.branches.append(list(flags))  # which hold to the end of the group, over the bars
                continue
            item = self._repeated(self._atom())
            group.branches[-1].append(item)
            if isinstance(item, _Atom) and item.text.startswith("(?"):
                flags.append(item)
        return group

    def _take(self, length: int) -> str:
        taken, self.rest = self.rest[:length], self.rest[length:]
        return taken

    def _atom(self) -> _Atom | _Group:
        match self.rest[0]:
            case "(":
                return self._group()
            case "[":
                return _Atom(self._take(self._class_length()))
            case "\\":
                return self._escape()
            case "^" | "$" as anchor:
                self._take(1)
                return _Atom(anchor, wide=False)
        return _Atom(self._take(1))

    def _group(self) -> _Atom | _Group:
        head = self._head()
        if head.endswith(")"):
            return _Atom(head, wide=False)  # flags for the rest of the enclosing group
        group = self.alternation(head)
        if self._take(1) != ")":
            raise NoBeginnings("a group that does not end")
        return group

    def _head(self) -> str:
        """What opens the group; a captured one is opened like any other, since nobody asks what it captured."""
        if not self.rest.startswith("(?"):
            self._take(1)
            return "(?:"
        if self.rest.startswith(("(?P<", "(?<")):
            self._take(self.rest.index(">") + 1)
            return "(?:"
        ends = [place for place in (self.rest.find(":"), self.rest.find(")")) if place >= 0]
        return self._take(min(ends) + 1)

    def _class_length(self) -> int:
        place = 2 if self.rest.startswith("[^") else 1
        place += self.rest.startswith("]", place)
        while place < len(self.rest) and self.rest[place] != "]":
            if self.rest.startswith("[:", place):
                place = self.rest.index(":]", place) + 2
            else:
                place += 2 if self.rest[place] == "\\" else 1
        return place + 1

    def _escape(self) -> _Atom:
        letter = self.rest[1:2]
        if letter in ("Q", "C", ""):
            raise NoBeginnings(f"the escape \\{letter}")
        if letter in "pPx" and self.rest[2:3] == "{":
            return _Atom(self._take(self.rest.index("}") + 1))
        if letter in "01234567":
            return _Atom(self._take(2 + _run(self.rest[2:4], frozenset("01234567"))))
        length = {"p": 3, "P": 3, "x": 4}.get(letter, 2)
        return _Atom(self._take(length), wide=letter not in "bBAz")

    def _repeated(self, inner: _Atom | _Group) -> _Atom | _Repeat | _Group:
        most, text = self._quantifier()
        if not text:
            return inner
        self.rest = self.rest.removeprefix("?")  # what is lazy matches the same texts
        again = self._quantifier()[1]
        if again:
            raise NoBeginnings("a repetition of a repetition")
        return _Repeat(inner, text, most)

    def _quantifier(self) -> tuple[int | None, str]:
        sign = self.rest[:1]
        if sign in ("*", "+", "?"):
            return _CLOSED[sign], self._take(1)
        counts, closed, _ = self.rest[1:].partition("}")
        least, comma, most = counts.partition(",")
        if sign != "{" or not closed or not least.isdigit() or not (most.isdigit() or not most):
            return None, ""
        limit = int(most) if most else None if comma else int(least)
        return limit, self._take(len(counts) + 2)


def _run(text: str, letters: frozenset[str]) -> int:
    return next((place for place, letter in enumerate(text) if letter not in letters), len(text))
