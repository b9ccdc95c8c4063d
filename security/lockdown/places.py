"""Where the controllers keep things: keys on the broker, and a folder of their own."""

from __future__ import annotations

from pathlib import Path

from switchtower.queues import key
from switchtower.settings import Settings

LEADER = key("lockdown", "leader")
"""Which controller leads: its name and a token; it vanishes when it is not renewed."""

CONTROLLERS = key("lockdown", "controllers")
"""Every controller and when it was last seen, for the status."""

REQUESTS = key("lockdown", "requests")
"""Sealed requests to release, for the controller that leads."""

RELEASES = key("lockdown", "releases")
"""What came of the latest requests, for the status; the audit has them all."""


def answer_key(request: str) -> str:
    """Where the sealed answer to one request is left for a while."""
    return key("lockdown", "answer", request)


def controller_folder(settings: Settings) -> Path:
    """The controller's own folder: what it knows of the lockdown, and its operators."""
    return settings.lockdown.directory or settings.home / "controller"


def operators_folder(settings: Settings) -> Path:
    """The operators that the controller knows: public keys and the secrets of their one-time codes."""
    return controller_folder(settings) / "operators"


def keys_folder(settings: Settings) -> Path:
    """The operators' own keys, each behind its password; they may be carried to the operators' machines."""
    return settings.security.keys_directory / "operators"
