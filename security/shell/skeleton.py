"""A command without its data: what is left for rules that read text, so that they hit what runs and not what is said.

Every script in the command stands on lines of its own: the command itself, what it gives to shells, and programs of
other languages that could do harm. Blanked in them are comments, the bodies of here-documents, and the literal parts of
quoted arguments. Everything else stays, so that a rule still sees what runs, should the parser have read it wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node

from security.shell.analysis import analyse, readings, walked
from security.shell.heredocs import taken_out
from security.shell.marks import unmarked
from security.shell.syntax import parse

_QUOTED = frozenset({"comment", "raw_string", "ansi_c_string", "string_content"})


def without_data(command: str) -> str | None:
    """The scripts of a command with blanks for their data, or None where it could not be read to its end."""
    if not analyse(command).conclusive:
        return None
    walker = walked(readings(command)[0])
    scripts = [_blanked(taken_out(source)[0]) for source in walker.scripts]
    return unmarked("\n".join([*scripts, *walker.programs]))


def _blanked(source: str) -> str:
    raw = bytearray(source.encode("utf-8", "replace"))
    for node in _data(parse(source)):
        raw[node.start_byte : node.end_byte] = b" " * (node.end_byte - node.start_byte)
    return raw.decode("utf-8", "replace")


def _data(root: Node) -> Iterator[Node]:
    """Comments, and what is quoted outside of a command's name."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type in _QUOTED:
            yield node
        elif node.type != "command_name":
            waiting.extend(node.children)
