"""The only file that knows the parser: tree-sitter-bash, one parser per thread."""

from __future__ import annotations

import threading

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from security.shell.limits import MAX_CHARS, MAX_OPERATORS, TooComplexError

_LANGUAGE = Language(tree_sitter_bash.language())
_local = threading.local()


def parse(source: str) -> Node:
    """The root of a script's syntax tree; TooComplexError where the script is longer than MAX_CHARS."""
    if len(source) > MAX_CHARS or source.count("|") + source.count("<") > MAX_OPERATORS:
        raise TooComplexError
    parser = getattr(_local, "parser", None)
    if parser is None:
        parser = _local.parser = Parser(_LANGUAGE)
    root: Node = parser.parse(source.encode("utf-8", "replace")).root_node
    return root


def text_of(node: Node) -> str:
    """The source of a node as it was written."""
    raw = node.text
    return raw.decode("utf-8", "replace") if raw else ""
