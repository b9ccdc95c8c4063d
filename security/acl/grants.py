"""One right on the broker: some commands, on some keys and channels, and on nothing else.

A user has many of them, as ACL *selectors* (Redis 7.2, Valkey): each allows its commands on its own keys only, so
that the right to delete one key is not the right to delete all that may be read or written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Grant:
    """A right. `takes` marks those by which messages leave the queues; they are what the backstop takes away."""

    commands: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    takes: bool = False

    @property
    def selector(self) -> str:
        """As Redis writes it."""
        return f"({' '.join([*(f'+{command}' for command in self.commands), *self.patterns])})"


def grant(commands: str, *patterns: str, takes: bool = False) -> Grant:
    """A right to some commands (one string, split at blanks) on patterns made by the functions below."""
    return Grant(tuple(commands.split()), patterns, takes)


def both(name: str) -> str:
    """Reading and writing the keys of a pattern."""
    return f"~{name}"


def reading(name: str) -> str:
    """Reading the keys of a pattern, and not changing them."""
    return f"%R~{name}"


def writing(name: str) -> str:
    """Changing the keys of a pattern, and not learning what stands in them."""
    return f"%W~{name}"


def channel(name: str) -> str:
    """A channel of publish and subscribe; what is subscribed as a pattern must be written just so."""
    return f"&{name}"


def selectors(grants: Iterable[Grant]) -> list[str]:
    """The rights as Redis writes them, each once, in a fixed order."""
    return sorted({one.selector for one in grants})
