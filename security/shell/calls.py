"""Commands in JSON: the objects by which models ask for tools, whatever the maker calls their fields."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from security.shell.names import names

_COMMANDS = names("command cmd commands shell_command shell bash script cmdline command_line powershell exec")
_SOURCES = names("input code arguments args params parameters query text content body action_input")
_NAMES = names("name tool tool_name function function_name action type recipient_name id")
_SHELL_TOOL = re.compile(r"bash|shell|terminal|console|command|exec|\bsh\b|powershell|ssh", re.IGNORECASE)
_ATTEMPTS = 256
_DEPTH = 12
_FIELD = re.compile(
    r"[\"'](?:command|cmd|shell_command|script|bash)[\"']\s*:\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')", re.DOTALL
)


def in_objects(text: str) -> Iterator[str]:
    """The commands in all JSON objects of a text, and in objects that are nearly JSON."""
    read, place, tried = 0, text.find("{"), 0
    decoder = json.JSONDecoder(strict=False)
    while place >= 0 and tried < _ATTEMPTS:
        tried += 1
        try:
            found, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place = text.find("{", place + 1)
            continue
        yield from _in_nearly(text[read:place])
        yield from _in_value(found, _DEPTH)
        read, place = end, text.find("{", end)
    yield from _in_nearly(text[read:])


def _in_value(value: Any, depth: int, *, runs: bool = False) -> Iterator[str]:
    """The commands in a value; `runs` says that a tool's name already said that it runs commands."""
    if depth == 0:
        return
    if isinstance(value, list):
        for item in value:
            yield from _in_value(item, depth - 1, runs=runs)
    elif isinstance(value, dict):
        runs = runs or any(
            key in _NAMES and isinstance(name, str) and _SHELL_TOOL.search(name) for key, name in value.items()
        )
        for key, inner in value.items():
            yield from _in_field(key.lower(), inner, depth, runs=runs)


def _in_field(key: str, value: Any, depth: int, *, runs: bool) -> Iterator[str]:
    is_command = key in _COMMANDS or (runs and key in _SOURCES)
    if isinstance(value, str):
        if is_command:
            yield value
        if key in _SOURCES and value.lstrip()[:1] in {"{", "["}:
            yield from _in_text(value, depth, runs=runs)
    elif is_command and isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        yield from value if key == "commands" else [shlex.join(value)]
    else:
        yield from _in_value(value, depth - 1, runs=runs)


def _in_text(text: str, depth: int, *, runs: bool) -> Iterator[str]:
    """Arguments that are JSON in a string, as OpenAI's function calls have them."""
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return
    yield from _in_value(value, depth - 1, runs=runs)


def _in_nearly(text: str) -> Iterator[str]:
    for found in _FIELD.finditer(text) if ":" in text else ():
        yield _unquoted(found[1])


def _unquoted(literal: str) -> str:
    try:
        return str(json.loads(literal, strict=False))
    except ValueError:
        return literal[1:-1].replace("\\'", "'").replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
