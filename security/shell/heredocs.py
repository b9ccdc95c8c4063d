"""Here-documents taken out of a script before it is parsed (POSIX.1-2024, XCU 2.7.4).

The parser loses its way in some of them without a sign of error: a body that begins with a backslash, a command that
goes on behind the operator, two on one line. So each is replaced by a redirection from a file that only the walker
knows. What this reader takes for a here-document although a shell would not is the one danger: commands would pass for
data. Therefore the analysis also reads the script as it came, and what that brings to light counts too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from security.shell.marks import DOCUMENT
from security.shell.quoting import unescape

_QUIET = re.compile(r"[^\\'\"`$(){}#\n<]+")
_DELIMITER = re.compile(r"<<(-?)[ \t]*((?:[^\s;&|<>()'\"\\]|\\.|'[^']*'|\"[^\"]*\")+)", re.DOTALL)
_WORD_ENDS = frozenset(" \t\n;&|()`")
_SINGLE = re.compile(r"'[^']*(?:'|\Z)")
_ANSI = re.compile(r"\$'(?:[^'\\]|\\.?)*(?:'|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Document:
    """The body of a here-document; `literal` where its delimiter is quoted, so that nothing in it is expanded."""

    text: str
    literal: bool


@dataclass(slots=True)
class _Operator:
    start: int
    end: int
    delimiter: str
    literal: bool
    tabs: bool


def taken_out(source: str, first: int = 0) -> tuple[str, list[Document]]:
    """A script without its here-documents, and these; they are numbered from `first` on."""
    if "<<" not in source:
        return source, []
    return _Reader(source, first).read()


class _Reader:
    """Goes through a script once, with a stack of what is open."""

    def __init__(self, source: str, first: int) -> None:
        self._source = source
        self._first = first
        self._place = 0
        self._kept = 0
        self._open: list[str] = []
        self._waiting: list[_Operator] = []
        self._parts: list[str] = []
        self._documents: list[Document] = []

    def read(self) -> tuple[str, list[Document]]:
        while self._place < len(self._source):
            if found := _QUIET.match(self._source, self._place):
                self._place = found.end()
                continue
            self._place += self._in_string() if self._open[-1:] == ['"'] else self._in_code()
        self._bodies(len(self._source))
        return "".join([*self._parts, self._source[self._kept :]]), self._documents

    def _in_string(self) -> int:
        """Steps over what stands here, inside double quotes; gives its length."""
        char = self._source[self._place]
        if char == '"':
            self._open.pop()
        return 2 if char == "\\" else self._opened(char)

    def _in_code(self) -> int:
        source, place = self._source, self._place
        char = source[place]
        if char == "'" or source.startswith("$'", place):
            found = (_SINGLE if char == "'" else _ANSI).match(source, place)
            return found.end() - place if found else 1
        if char in '")}':
            self._close(char)
            return 1
        if char == "#" and (place == 0 or source[place - 1] in _WORD_ENDS) and self._open[-1:] != ["}"]:
            end = source.find("\n", place)
            return (end if end >= 0 else len(source)) - place
        if char == "<":
            return self._operator()
        if char == "\n" and self._waiting:
            self._bodies(place + 1)
            return self._kept - place
        return 2 if char == "\\" else self._opened(char)

    def _opened(self, char: str) -> int:
        """Note what opens here: a substitution, an expansion, arithmetic as a whole."""
        source, place = self._source, self._place
        begin = place + (char == "$")
        if source.startswith("((", begin) and (end := _arithmetic_end(source, begin)):
            return end - place
        if source.startswith(("$(", "${"), place):
            self._open.append({"(": ")", "{": "}"}[source[place + 1]])
            return 2
        if char == "`" and char in self._open:
            del self._open[self._open.index(char) :]
        elif char == "`":
            self._open.append(char)
        elif char == "(" and self._open[-1:] != ['"']:
            self._open.append(")")
        return 1

    def _close(self, char: str) -> None:
        if char == '"':
            self._open.append(char)
        elif self._open[-1:] == [char]:
            self._open.pop()

    def _operator(self) -> int:
        source, place = self._source, self._place
        if source.startswith("<<<", place):
            return 3
        found = _DELIMITER.match(source, place)
        if not found or self._open[-1:] == ["}"]:
            return 1
        quoted = not set("'\"\\").isdisjoint(found[2])
        delimiter = unescape(found[2]).replace("'", "").replace('"', "")
        self._waiting.append(_Operator(place, found.end(), delimiter, quoted, bool(found[1])))
        return found.end() - place

    def _bodies(self, begin: int) -> None:
        """Take the bodies that begin here, and put what stands for them in the places of their operators."""
        end = begin
        for operator in self._waiting:
            name = f"< {DOCUMENT}{self._first + len(self._documents)}"
            self._parts += [self._source[self._kept : operator.start], name]
            self._kept = operator.end
            text, end = _body(self._source, end, operator)
            self._documents.append(Document(text, operator.literal))
        if self._waiting:
            self._parts.append(self._source[self._kept : begin])
            self._kept = end
        self._waiting = []


def _body(source: str, begin: int, operator: _Operator) -> tuple[str, int]:
    place = begin
    while place < len(source):
        end = source.find("\n", place)
        end = len(source) if end < 0 else end
        line = source[place:end]
        if (line.lstrip("\t") if operator.tabs else line) == operator.delimiter:
            return source[begin:place], min(end + 1, len(source))
        place = end + 1
    return source[begin:], len(source)


def _arithmetic_end(source: str, begin: int) -> int:
    """Where the arithmetic that begins with these two brackets ends, or 0 where it is none."""
    depth, place = 0, begin
    for place in range(begin, min(len(source), begin + 2000)):
        depth += {"(": 1, ")": -1}.get(source[place], 0)
        if depth == 1 and source[place] == ")":
            return place + 2 if source.startswith("))", place) else 0
    return 0
