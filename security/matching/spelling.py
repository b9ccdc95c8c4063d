"""One spelling of a pattern that every engine reads alike.

Rules are written in RE2 syntax. Hyperscan reads PCRE syntax, which looks the same and differs in small things: its `$`
also stands before a last line feed, its `\\s` holds the vertical tab, and each engine folds case by a Unicode version
of its own. So a pattern is spelled out before any engine sees it; what cannot be spelled alike is refused.

Sources: RE2's syntax page (https://github.com/google/re2/wiki/Syntax), pcrepattern(3), and "Pattern Support" in
Hyperscan's developer reference (https://intel.github.io/hyperscan/dev-reference/compilation.html).
"""

from __future__ import annotations

import re

_CODE = r"\\x\{[0-9A-Fa-f]+\}|\\x[0-9A-Fa-f]{2}|\\."
_ATOM = rf"(?:{_CODE}|[^\\])"
_TOKEN = re.compile(
    r"(?P<set>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])"
    r"|(?P<open>\((?:\?P?<\w+>|\?[A-Za-z-]*[:)])?)"
    rf"|(?P<atom>{_ATOM})",
    re.DOTALL,
)
_ESCAPE = re.compile(_CODE, re.DOTALL)
_ITEM = re.compile(rf"(?P<named>\[:\^?\w+:\]|\\[wWdDsS])|(?P<low>{_ATOM})(?:-(?P<high>{_ATOM}))?", re.DOTALL)
_REFUSED = {
    **dict.fromkeys("pP", "engines know different versions of Unicode; write the ranges out"),
    **dict.fromkeys("QE", "put a backslash before each character"),
    **dict.fromkeys("01234567", r"write the character as \x{…}"),
    "v": r"write the vertical tab as \x0b",
    "C": "a rule matches whole characters",
}
_SPACE = r"\t\n\f\r "
_NO_SPACE = r"\x00-\x08\x0b\x0e-\x1f!-\x{10ffff}"
_CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_CASES = (("a", "z", -32), ("A", "Z", 32))


class SpellingError(ValueError):
    """This pattern does not mean the same to every engine."""


def portable(pattern: str) -> str:
    """Spell a pattern that RE2 accepts so that all engines read it alike; without capitals it ignores ASCII case.

    Raises SpellingError, which says what to write instead.
    """
    if "\0" in pattern:
        raise SpellingError(r"write the null character as \x00")
    speller = _Speller(caseless=not _has_capital(pattern))
    return "".join(speller.spell(str(found.lastgroup), found.group()) for found in _TOKEN.finditer(pattern))


def _has_capital(pattern: str) -> bool:
    tokens = _TOKEN.finditer(pattern)
    written = "".join(found.group() for found in tokens if found.lastgroup != "open")
    return any(char.isupper() for char in _ESCAPE.sub("", written))


class _Speller:
    """Spells token after token; knows the flags of the groups that are open."""

    def __init__(self, caseless: bool) -> None:
        self._flags = [frozenset("i" if caseless else "")]

    def spell(self, kind: str, text: str) -> str:
        if kind == "open":
            return self._open(text)
        if kind == "set":
            return _set(text, "i" in self._flags[-1])
        if text == ")":
            self._flags.pop()
        if text == "$" and "m" not in self._flags[-1]:
            return r"\z"
        return _atom(text, "i" in self._flags[-1])

    def _open(self, text: str) -> str:
        """A group's opening, without the flag for case, which is spelled out."""
        said = text[2:-1] if text.startswith("(?") and text[-1] in ":)" else ""
        if "U" in said:
            raise SpellingError("the flag `U` changes nothing in a rule; leave it out")
        on, _, off = said.partition("-")
        inner = (self._flags[-1] | set(on)) - set(off)
        if text.endswith(")"):
            self._flags[-1] = inner
        else:
            self._flags.append(inner)
        return _flagged(on.replace("i", ""), off.replace("i", ""), text[-1]) if said else text


def _flagged(on: str, off: str, end: str) -> str:
    flags = f"{on}-{off}" if off else on
    return f"(?{flags}{end}" if flags or end == ":" else ""


def _atom(text: str, caseless: bool) -> str:
    if text.startswith("\\"):
        _check(text)
        return {r"\s": f"[{_SPACE}]", r"\S": f"[^{_SPACE}]"}.get(text, text)
    return _either_case(text) if caseless and text.isascii() and text.isalpha() else text


def _either_case(letter: str) -> str:
    # RE2 may take `[kK]` for a folded letter, which the Kelvin sign equals too; likewise `[sS]` and the long s.
    return f"(?:{letter.lower()}|{letter.upper()})" if letter in "kKsS" else f"[{letter.lower()}{letter.upper()}]"


def _check(escape: str) -> None:
    if reason := _REFUSED.get(escape[1]):
        raise SpellingError(f"`{escape}` does not mean the same to every engine: {reason}")


def _set(text: str, caseless: bool) -> str:
    """A character class with its spaces and, where asked, the other case spelled out."""
    head = "[^" if text.startswith("[^") else "["
    items = list(_ITEM.finditer(text[len(head) : -1]))
    if head == "[" and _letter(items, caseless):
        return _either_case(_letter(items, caseless))
    others = "".join(map(_other_case, items)) if caseless else ""
    return f"{head}{''.join(map(_item, items))}{others}]"


def _letter(items: list[re.Match[str]], caseless: bool) -> str:
    """The one letter that a class holds in both cases, or nothing."""
    held = {found.group() for found in items}
    lower = {char.lower() for char in held}
    return lower.pop() if lower in ({"k"}, {"s"}) and (caseless or len(held) > 1) else ""


def _item(found: re.Match[str]) -> str:
    named, low, high = found.group("named", "low", "high")
    if named:
        return {r"\s": _SPACE, r"\S": _NO_SPACE}.get(named, named)
    return f"{_member(low)}-{_member(high)}" if high else _member(low)


def _member(atom: str) -> str:
    if atom.startswith("\\"):
        _check(atom)
        return atom
    return f"\\{atom}" if atom in "[]-^" else atom


def _other_case(found: re.Match[str]) -> str:
    """What a member of a class adds when the class ignores case: `C-F` for `c-f`."""
    named, low, high = found.group("named", "low", "high")
    if named:
        return {"[:lower:]": "[:upper:]", "[:upper:]": "[:lower:]"}.get(named, "")
    first, last = _character(low), _character(high or low)
    return "".join(_shifted(max(first, start), min(last, end), by) for start, end, by in _CASES)


def _shifted(first: str, last: str, by: int) -> str:
    return f"{chr(ord(first) + by)}-{chr(ord(last) + by)}" if first <= last else ""


def _character(atom: str) -> str:
    if atom.startswith("\\x"):
        return chr(int(atom[2:].strip("{}"), 16))
    return _CONTROLS.get(atom[1], atom[1]) if atom.startswith("\\") else atom
