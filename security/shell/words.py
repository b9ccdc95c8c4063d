"""Static evaluation of words: what a word of a script reads as when its command runs.

Covered: quotes, ANSI-C quotes, parameters and their expansions, command and process substitution, braces, field
splitting by IFS. Not covered: path names are left as patterns, `~` and `~user` stay for the home they mean, and
arithmetic is unknown, except that what it runs is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from tree_sitter import Node

from security.shell.braces import expand
from security.shell.limits import MAX_WORDS, TooComplexError, bounded
from security.shell.marks import UNKNOWN
from security.shell.parameters import Parameters
from security.shell.quoting import ansi, undouble, unescape, untick
from security.shell.scope import Scope
from security.shell.syntax import text_of

_TICKS = re.compile(r"(?<!\\)`((?:[^`\\]|\\.)*)`", re.DOTALL)
_SPECIAL = frozenset("\\{` \t\n")
_BLANKS = frozenset(" \t\n")
_BASE = 0xF0000  # the second supplementary private-use plane holds the places of quoted pieces while braces expand


class Host(Protocol):
    """What words need of the shell that they stand in."""

    scope: Scope

    def capture(self, node: Node) -> str:
        """Run what a command substitution holds and give its output."""

    def capture_script(self, source: str) -> str:
        """The same for a script that is text."""

    def offer(self, output: str) -> str:
        """A path under which a command can read this output."""

    def visit(self, node: Node) -> None:
        """Run the commands inside a node that has no value of its own."""


class _Kind(Enum):
    PLAIN = auto()
    QUOTED = auto()
    SPLIT = auto()


@dataclass(slots=True)
class _Piece:
    """A part of a word; `text` is a list where it stands for words of their own, as `"$@"` does."""

    kind: _Kind
    text: str | list[str]


class Words:
    """Evaluates the words of one shell."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._parameters = Parameters(host, self.value)
        self._makers: dict[str, Callable[[Node], list[_Piece]]] = {
            "word": self._word,
            "number": self._other,
            "``": lambda node: [],
            "string": self._string,
            "raw_string": lambda node: [_Piece(_Kind.QUOTED, text_of(node)[1:-1])],
            "ansi_c_string": lambda node: [_Piece(_Kind.QUOTED, ansi(text_of(node)[2:-1]))],
            "translated_string": lambda node: self._pieces(node.children[-1]),
            "concatenation": self._concatenation,
            "command_name": self._concatenation,
            "simple_expansion": self._expansion,
            "expansion": self._expansion,
            "command_substitution": lambda node: [_Piece(_Kind.SPLIT, self._substitution(node))],
            "process_substitution": self._process,
            "arithmetic_expansion": self._arithmetic,
        }

    def fields(self, nodes: Iterable[Node]) -> list[str]:
        """The words that some nodes become; one node may give none, or many."""
        found: list[str] = []
        for node in nodes:
            found.extend(self._fields(node))
            if len(found) > MAX_WORDS * 4:
                raise TooComplexError
        return found

    def value(self, node: Node) -> str:
        """One string, as in an assignment or behind a redirection: neither split nor brace-expanded."""
        return bounded("".join(_flat(piece) for piece in self._pieces(node)))

    def document(self, node: Node) -> str:
        """The body of a here-document in which expansions count."""
        inner = [child for child in node.children if child.type != "heredoc_content"]
        return "".join(_flat(piece) for piece in self._between(node.text or b"", inner, node.start_byte))

    def _fields(self, node: Node) -> list[str]:
        if node.type == "command_name":
            node = node.children[0]
        if node.type == "word":
            text = text_of(node)
            if _SPECIAL.isdisjoint(text):
                return [text]
            if not _BLANKS.isdisjoint(text) and "\\" not in text:
                # Blanks in a plain word are a slip of the parser, as in `! { { ls; }; }`.
                return [word for part in text.split() for word in expand(part)]
        pieces = self._pieces(node)
        if len(pieces) == 1 and pieces[0].kind is _Kind.QUOTED:
            text = pieces[0].text  # type: ignore[assignment]
            return [text] if isinstance(text, str) else text
        if any(piece.kind is _Kind.PLAIN and "{" in piece.text for piece in pieces):
            return [field for word in _braced(pieces) for field in self._split(word)]
        return self._split(pieces)

    def _pieces(self, node: Node) -> list[_Piece]:
        return self._makers.get(node.type, self._other)(node)

    def _word(self, node: Node) -> list[_Piece]:
        text = text_of(node)
        if "`" in text:
            # The parser takes `…` inside `${…}`, and `` anywhere, for letters.
            return [_Piece(_Kind.SPLIT, self._literal(text.encode("utf-8", "replace"), unescape))]
        if "\\" not in text:
            return [_Piece(_Kind.PLAIN, text)]
        # An escaped brace or comma is no brace expansion; nothing else of a plain word differs from a quoted one.
        return [_Piece(_Kind.QUOTED if "{" in text or "," in text else _Kind.PLAIN, unescape(text))]

    def _other(self, node: Node) -> list[_Piece]:
        if node.is_named and node.child_count:
            self._host.visit(node)
        return [_Piece(_Kind.PLAIN, text_of(node))]

    def _concatenation(self, node: Node) -> list[_Piece]:
        children = node.children
        if len(children) == 1:
            return self._pieces(children[0])
        kept = [
            child for child, after in zip(children, [*children[1:], None], strict=True) if not _dollar(child, after)
        ]
        return [piece for child in kept for piece in self._pieces(child)]

    def _string(self, node: Node) -> list[_Piece]:
        raw = node.text or b""
        inner = [child for child in node.children if child.type not in {'"', "string_content"}]
        return self._between(raw[1:-1], inner, node.start_byte + 1)

    def _between(self, raw: bytes, nodes: list[Node], start: int) -> list[_Piece]:
        # The tree keeps blanks before an expansion out of its nodes, so the text in between is cut from the source.
        pieces, place = [], 0
        for node in nodes:
            begin, end = node.start_byte - start, node.end_byte - start
            begin += len(raw[begin:end]) - len(raw[begin:end].lstrip())
            pieces.append(_Piece(_Kind.QUOTED, self._literal(raw[place:begin])))
            pieces.extend(_Piece(_Kind.QUOTED, piece.text) for piece in self._pieces(node))
            place = end
        pieces.append(_Piece(_Kind.QUOTED, self._literal(raw[place:])))
        full = [piece for piece in pieces if piece.text]
        return full or [_Piece(_Kind.QUOTED, "")]

    def _literal(self, raw: bytes, read: Callable[[str], str] = undouble) -> str:
        text = raw.decode("utf-8", "replace")
        if "`" not in text:
            return read(text)
        # The parser leaves backquotes in here-documents alone; every second part is a script.
        return "".join(
            self._host.capture_script(untick(part)).rstrip("\n") if place % 2 else read(part)
            for place, part in enumerate(_TICKS.split(text))
        )

    def _expansion(self, node: Node) -> list[_Piece]:
        return [_Piece(_Kind.SPLIT, self._parameters.value(node))]

    def _substitution(self, node: Node) -> str:
        if node.children[0].type == "`" and "\\" in (source := text_of(node)):
            return self._host.capture_script(untick(source[1:-1])).rstrip("\n")
        return self._host.capture(node).rstrip("\n")

    def _process(self, node: Node) -> list[_Piece]:
        return [_Piece(_Kind.QUOTED, self._host.offer(self._host.capture(node)))]

    def _arithmetic(self, node: Node) -> list[_Piece]:
        self._host.visit(node)
        return [_Piece(_Kind.QUOTED, UNKNOWN)]

    def _split(self, pieces: list[_Piece]) -> list[str]:
        separators = self._host.scope.variables.get("IFS", " \t\n")
        bounded("".join(_flat(piece) for piece in pieces) if len(pieces) > 1 else "")
        fields: list[str] = []
        current, started = "", False
        for piece in pieces:
            if piece.kind is not _Kind.SPLIT and isinstance(piece.text, str):
                current, started = current + piece.text, True
                continue
            parts = _parts(piece, separators if isinstance(separators, str) else " \t\n")
            if not parts:
                continue
            fields.extend([current + parts[0], *parts[1:-1]] if len(parts) > 1 else [])
            current, started = (parts[-1] if len(parts) > 1 else current + parts[0]), True
        kept = [field for field in fields if field]
        return [*kept, current] if started and (current or not kept) else kept


def _dollar(child: Node, after: Node | None) -> bool:
    return child.type == "$" and after is not None and after.type == "string"


def _flat(piece: _Piece) -> str:
    return piece.text if isinstance(piece.text, str) else " ".join(piece.text)


def _parts(piece: _Piece, separators: str) -> list[str]:
    """What a piece falls into; an empty first or last part says that a separator stood there."""
    words = [piece.text] if isinstance(piece.text, str) else piece.text
    if piece.kind is not _Kind.SPLIT:
        return words
    found: list[str] = []
    for word in words:
        for char in separators[1:]:
            word = word.replace(char, separators[0])  # noqa: PLW2901
        split = word.split(separators[0]) if separators else [word]
        found.extend(part for place, part in enumerate(split) if part or place in {0, len(split) - 1})
    return found if any(words) else []


def _braced(pieces: list[_Piece]) -> list[list[_Piece]]:
    text = "".join(
        piece.text if piece.kind is _Kind.PLAIN and isinstance(piece.text, str) else chr(_BASE + place)
        for place, piece in enumerate(pieces)
    )
    return [_restored(word, pieces) for word in expand(text)]


def _restored(word: str, pieces: list[_Piece]) -> list[_Piece]:
    found, plain = [], ""
    for char in word:
        place = ord(char) - _BASE
        if 0 <= place < len(pieces):
            found += [_Piece(_Kind.PLAIN, plain), pieces[place]] if plain else [pieces[place]]
            plain = ""
        else:
            plain += char
    return [*found, _Piece(_Kind.PLAIN, plain)] if plain else found
