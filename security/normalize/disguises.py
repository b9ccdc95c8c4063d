"""Words in disguise: digits for letters, and letters set apart."""

from __future__ import annotations

from security.normalize.finder import finder, replaced
from security.normalize.words import WORDS, parted

_SIGN, _ANY = "[013457$]", "[A-Za-z]"
HINTS = {
    "leet": rf"{_ANY}{{2}}{_SIGN}{_ANY}|{_ANY}{_SIGN}{_ANY}{{2}}|\s{_ANY}{_SIGN}{_ANY}\s|\b[013457]{_ANY}{{3}}",
    "split": r"\b[A-Za-z](?:(?: {1,4}|[.*_-])[A-Za-z]){2}(?: {1,4}|[.*_-])[A-Za-z0-9]\b",
}
"""What any disguise matches, and little else."""

_LEET_WORD = finder(r"[A-Za-z0-9@$!]*(?:[A-Za-z][013457@$!]|[013457@$!][A-Za-z])[A-Za-z0-9@$!]*")
_LETTERS = str.maketrans("03457@$!", "oeastasi")
_SET_APART = finder(r"\b[A-Za-z0-9](?:(?: {1,4}[A-Za-z0-9]){2,}|(?:\.[A-Za-z0-9]){2,}|(?:[*_-][A-Za-z0-9]){2,})\b")
_AT_LEAST = 3
_SURE = 10


def unleeted(text: str) -> str:
    """The text with letters for the digits and signs inside words."""
    return replaced(_LEET_WORD, text, lambda word: _word(word.decode()).encode())


def _word(leet: str) -> str:
    letters = leet.translate(_LETTERS)
    as_l = letters.replace("1", "l")
    return as_l if as_l.lower() in WORDS else letters.replace("11", "ll").replace("1", "i")


def joined(text: str) -> str:
    """The text with letters that were set apart put together again."""
    return replaced(_SET_APART, text, lambda run: _together(run.decode()).encode())


def _together(run: str) -> str:
    words = ["".join(char for char in word if char not in " .*_-") for word in run.split("  ")]
    if len(words) == 1 and len(words[0]) >= _SURE:
        return parted(words[0])
    return run if max(map(len, words)) < _AT_LEAST else " ".join(words)
