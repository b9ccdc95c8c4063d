"""The registry of what the analysis knows about single commands."""

from __future__ import annotations

from collections.abc import Callable

from security.shell.walker import Handler, noted

__all__ = ["HANDLERS", "handles", "noted"]

HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register a function for commands of these names."""

    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register
