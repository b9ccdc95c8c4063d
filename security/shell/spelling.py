"""Spellings of the same script that the parser reads rightly where it stumbles over another one, mostly unsaid.

Each was found by the test that writes dangerous commands in other ways; see `tests/support/evasions.py`. Inside quotes
the changes make no difference to what a shell would do with the text.
"""

from __future__ import annotations

import re

_SIMPLE = re.compile(r"(?<!\\)\$([A-Za-z_]\w*|[0-9@*])", re.ASCII)
_NEGATED = re.compile(r"(^|[\s;&|(])!\s+(?=\{\s)")
_LIST = re.compile(r"(^|[\s;&|(`])\{(?=[^\s{}]*[,.])", re.MULTILINE)
_NOTHING = re.compile(r"(?<![\\`])``(?!`)")


def spelled(source: str) -> str:
    """`$x` as `${x}`, for beside letters the parser cuts `$*`, `$@`, `$1` short; a block without the `!` before it."""
    if "! " in source:
        source = _NEGATED.sub(r"\1", source)
    return _SIMPLE.sub(r"${\1}", source) if "$" in source else source


def respelled(source: str) -> str:
    """For a script with errors: braces at a command's start after empty quotes, an empty `` as those, `<>` as `<`."""
    source = source.replace("<>", "<")
    return _LIST.sub(r"\1''{", _NOTHING.sub("''", source))
