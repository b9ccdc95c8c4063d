"""An abstract run of a script: every command that might run is visited with what is known of its words.

Conditions are not decided: both branches run, loops run for each known value or once. Every command gives its output
as text, as far as it is known, so that substitutions and pipes can be followed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tree_sitter import Node

from security.shell import dangers
from security.shell.call import Call, program
from security.shell.dangers import Danger
from security.shell.heredocs import Document, taken_out
from security.shell.limits import MAX_ROUNDS, Budget
from security.shell.marks import DOCUMENT, UNKNOWN, blurred, emptied, open_ended, spliced
from security.shell.quoting import joined
from security.shell.scope import Scope
from security.shell.spelling import respelled, spelled
from security.shell.statements import Statements
from security.shell.syntax import parse
from security.shell.words import Words

_END = "END_OF_DOCUMENT"

_ENDS = frozenset({"}", "fi", "done", "esac", "]]"})
"""Where one of these is called as a command, the parser lost what it ends."""

Handler = Callable[["Walker", Call], "str | None"]
"""Judges one kind of command and gives its output, or None where that is not known."""


class Walker:
    """Runs scripts over one scope and collects the dangers in them."""

    def __init__(
        self, handlers: Mapping[str, Handler], judge: Callable[[Walker, Call], None], *, takes_documents: bool = True
    ) -> None:
        """With `takes_documents` off here-documents stay in the script, and their bodies are passed over."""
        self._takes_documents = takes_documents
        self._documents: list[Document] = []
        self.scope = Scope()
        self.budget = Budget()
        self.found: dict[str, tuple[Danger, str]] = {}
        self.decoded: set[str] = set()
        self.scripts: dict[str, None] = {}
        """Every shell script that was run, in order."""
        self.programs: dict[str, None] = {}
        """Programs of other languages that could do harm."""
        self.words = Words(self)
        self._handlers = handlers
        self._judge = judge
        self._statements = Statements(self)
        self._calling: list[str | int] = []

    def report(self, danger: Danger, command: str) -> None:
        """Note a danger once, with the name of the command that brings it."""
        self.found.setdefault(danger.name, (danger, command))

    def script(self, source: str, stdin: str | None = None) -> str:
        """Run a script in the present shell; gives what it prints."""
        self.scripts[source] = None
        if self._takes_documents:
            source, documents = taken_out(source, len(self._documents))
            self._documents += documents
        if "\\\n" in source:
            # The parser takes a continued line for two words; but a comment's last backslash continues nothing.
            self._run(joined(source), stdin)
        return self._run(source, stdin)

    def _run(self, source: str, stdin: str | None) -> str:
        root = _tree(source)
        if root.has_error:
            self.report(dangers.UNPARSED, "script")
        return self._statements.run(root, stdin)

    def code(self, source: str, command: str, stdin: str | None = None) -> str:
        """Run a script that is made of values; what is not known of it may be code too."""
        if danger := dangers.code_from(source):
            self.report(danger, command)
        if source.strip() in self.decoded:
            self.report(dangers.HIDDEN_CODE, command)
        return self.script(source, stdin)

    def visit(self, node: Node) -> None:
        """Run the commands inside a node that is no statement."""
        for child in node.children:
            self._statements.run(child, None)

    def capture(self, node: Node) -> str:
        """The output of a command or process substitution."""
        with self.subshell():
            return "".join(self._statements.run(child, None) for child in node.children if child.is_named)

    def capture_script(self, source: str) -> str:
        """The output of a script that is run in a shell of its own."""
        with self.subshell():
            return self.script(source)

    def offer(self, output: str) -> str:
        """A path, as of a process substitution, under which an output can be read."""
        path = f"/dev/fd/{63 + len(self.scope.files)}"
        self.write(path, output)
        return path

    def read(self, path: str) -> str:
        """What is known of a file's content."""
        if path[:1] == DOCUMENT and path[1:].isdecimal() and int(path[1:]) < len(self._documents):
            return self._body(self._documents[int(path[1:])])
        return self.scope.files.get(plain(path), UNKNOWN)

    def knows(self, path: str) -> bool:
        """Whether the script itself wrote the file."""
        return plain(path) in self.scope.files

    def write(self, path: str, text: str) -> None:
        """Note what a file holds from now on."""
        self.scope.files[plain(path)] = text

    def copied(self, source: str, target: str) -> None:
        """Note that a file, or a program, has another name from now on."""
        if self.knows(source):
            self.write(target, self.read(source))
        elif "/" in source and program(source) in self._handlers:
            self.scope.programs[plain(target)] = program(source)

    def _body(self, document: Document) -> str:
        if document.literal or set("$`\\").isdisjoint(document.text):
            return document.text
        # The dot keeps the parser from losing a body that begins with a backslash.
        root = parse(f"cat <<{_END}\n.{document.text.rstrip()}\n{_END}\n")
        body = next((node for node in _nodes(root) if node.type == "heredoc_body"), None)
        if body is None or root.has_error:
            self.report(dangers.UNPARSED, "here-document")
            return document.text
        return self.words.document(body)[1:]

    @contextmanager
    def subshell(self) -> Iterator[None]:
        """What happens inside changes nothing outside, except files."""
        outside = self.scope
        self.scope = outside.copy()
        try:
            yield
        finally:
            self.scope = outside

    @contextmanager
    def branch(self) -> Iterator[None]:
        """What happens inside may not happen at all."""
        scope = self.scope
        scope.branches += 1
        try:
            yield
        finally:
            scope.branches -= 1

    def note(self, event: str, *words: str) -> None:
        """Tell the handler of an event that is no command: `>`, `>>` and `<` with a path, `=` with name and value."""
        if handler := self._handlers.get(noted(event)):
            handler(self, Call(noted(event), list(words)))

    def nested(self, call: Callable[[], None]) -> None:
        """Do something that may lead to itself again, as deep as the limits allow."""
        self.budget.enter()
        try:
            call()
        finally:
            self.budget.leave()

    def execute(self, words: list[str], stdin: str | None = None) -> str:
        """Run one command whose words are known as far as they can be; gives its output."""
        if not words:
            return ""
        self.budget.enter()
        try:
            return self._execute(words, stdin)
        finally:
            self.budget.leave()

    def _execute(self, words: list[str], stdin: str | None) -> str:
        name = program(words[0])
        if name in _ENDS:
            self.report(dangers.UNPARSED, "script")
        if open_ended(words[0]):
            self._unsure(words, name, stdin)
        call = Call(name, words[1:], stdin, words[0])
        for outcome in (self._alias(call), self._function(call), self._file(call)):
            if outcome is not None:
                return outcome
        output = self._carry_out(call)
        if any(map(open_ended, call.words)) and (closed := [spliced(word) for word in call.words]) != call.words:
            self._carry_out(Call(name, closed, stdin, words[0]))
        return blurred(stdin or "") if output is None else output

    def _carry_out(self, call: Call) -> str | None:
        self._judge(self, call)
        handler = self._handlers.get(call.name)
        return handler(self, call) if handler else None

    def _unsure(self, words: list[str], name: str, stdin: str | None) -> None:
        if open_ended(words[0].rpartition("/")[2]):
            self.report(dangers.UNKNOWN_COMMAND, "command")
        if not name and not emptied(words[0]):
            # An empty variable leaves the next word as the command, and one that holds `sudo` runs it.
            self.execute(words[1:], stdin)

    def _alias(self, call: Call) -> str | None:
        text = self.scope.aliases.get(call.typed)
        if text is not None and text not in self._calling:
            with self._inside(text):
                self.script(" ".join([text, *map(_quoted, call.words)]), call.stdin)
        return None  # a script that is not interactive knows no aliases: the command itself may run instead

    def _function(self, call: Call) -> str | None:
        body = self.scope.functions.get(call.typed)
        if body is None or body.id in self._calling:
            return None
        outer, self.scope.arguments = self.scope.arguments, call.words
        with self._inside(body.id):
            output = self._statements.run(body, call.stdin)
        self.scope.arguments = outer
        return output if call.name not in self._handlers else None

    def _file(self, call: Call) -> str | None:
        path = plain(call.typed)
        if path in self.scope.programs:
            return self.execute([self.scope.programs[path], *call.words], call.stdin)
        if "/" not in call.typed or path in self._calling or not self.knows(path):
            return None
        with self._inside(path), self.subshell():
            self.scope.arguments = call.words
            return self.code(self.read(path), "script", call.stdin)

    @contextmanager
    def _inside(self, name: str | int) -> Iterator[None]:
        self._calling.append(name)
        try:
            yield
        finally:
            self._calling.pop()

    def rounds(self, values: list[str]) -> list[str]:
        """The values that a loop's variable takes, the last one unknown where there are too many."""
        return values if len(values) <= MAX_ROUNDS else [*values[:MAX_ROUNDS], UNKNOWN]


def noted(event: str) -> str:
    """The name under which an event has its handler; no command can be called so, for no word holds NUL."""
    return f"\0{event}"


def plain(path: str) -> str:
    """A path without `.` and doubled slashes, so that one file has one name."""
    return posixpath.normpath(path)


def _tree(source: str) -> Node:
    """The syntax tree of a script, spelled as the parser reads it rightly."""
    root = parse(spelled(source))
    if root.has_error and (other := respelled(source)) != source:
        second = parse(spelled(other))
        root = root if second.has_error else second
    return root


def _nodes(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
