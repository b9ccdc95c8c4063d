"""One command about to run: its name, its words, and what it reads."""

from __future__ import annotations

from dataclasses import dataclass

from security.shell.marks import emptied


@dataclass(slots=True)
class Call:
    """A simple command after all expansions; `stdin` is None where it reads the terminal or nothing."""

    name: str
    words: list[str]
    stdin: str | None = None
    typed: str = ""
    """The name as it was written, with its path."""


def program(word: str) -> str:
    """The program that a command's first word names: no folder, no case, no `.exe`, unknown parts empty."""
    name = emptied(word).rpartition("/")[2].lower()
    return name.removesuffix(".exe")


@dataclass(slots=True)
class Options:
    """The words of a command sorted into flags and operands."""

    flags: set[str]
    values: dict[str, str]
    operands: list[str]

    def any(self, *names: str) -> bool:
        """Whether one of these options is there; long ones may be cut short, as GNU's getopt_long allows."""
        return any(name in self.flags or (name[:2] == "--" and self._cut(name)) for name in names)

    def _cut(self, name: str) -> bool:
        return any(flag[:2] == "--" and flag[3:] and name.startswith(flag) for flag in self.flags)


def sort_options(words: list[str], valued: frozenset[str] = frozenset(), *, leading: bool = False) -> Options:
    """Read options: clusters fall into single letters, `valued` ones take the next word unless it is attached.

    With `leading` the first operand ends the options, as it does for commands that run another command.
    """
    found = Options(set(), {}, [])
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if word == "--" or (leading and not _is_option(word)):
            found.operands.extend(words[place - (word != "--") :])
            break
        if not _is_option(word):
            found.operands.append(word)
        elif (taking := _note(found, word, valued)) and place < len(words):
            found.values[taking] = words[place]
            place += 1
    return found


def _is_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-"


def _note(found: Options, word: str, valued: frozenset[str]) -> str | None:
    """Note one word of options; gives the option that still wants the next word as its value."""
    if word.startswith("--") or word in valued:
        name, attached, value = word.partition("=")
        found.flags.add(name)
        if attached:
            found.values[name] = value
            return None
        return name if name in valued else None
    for place, letter in enumerate(word[1:], start=2):
        flag = "-" + letter
        found.flags.add(flag)
        if flag in valued:
            found.values[flag] = word[place:]
            return None if word[place:] else flag
    return None
