"""What each kind of statement of the shell's grammar does, as far as its commands and their data go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tree_sitter import Node

from security.shell import dangers
from security.shell.limits import bounded
from security.shell.marks import UNKNOWN
from security.shell.redirections import Redirections
from security.shell.scope import Value
from security.shell.syntax import text_of

if TYPE_CHECKING:
    from security.shell.walker import Walker

Runner = Callable[[Node, "str | None"], str]
_PIPES = frozenset({"|", "|&"})


class Statements:
    """Runs statements for a walker."""

    def __init__(self, walker: Walker) -> None:
        self._walker = walker
        self._attached: dict[int, list[Node]] = {}
        self._redirections = Redirections(walker, self.run)
        self._runners: dict[str, Runner] = {
            "command": self._command,
            "pipeline": self._pipeline,
            "list": self._list,
            "redirected_statement": self._redirected,
            "subshell": self._subshell,
            "if_statement": self._conditional,
            "elif_clause": self._conditional,
            "else_clause": self._conditional,
            "case_statement": self._conditional,
            "while_statement": self._conditional,
            "for_statement": self._for,
            "function_definition": self._function,
            "variable_assignment": self._assignment,
            "declaration_command": self._declaration,
            "unset_command": self._unset,
            "command_substitution": lambda node, _: self._walker.words.value(node),
            "process_substitution": lambda node, _: self._walker.words.value(node),
            "string": lambda node, _: self._walker.words.value(node),
            "file_redirect": self._lone_redirect,
            "comment": lambda node, stdin: "",
        }

    def run(self, node: Node, stdin: str | None) -> str:
        """Run a statement, or what statements are inside a node that is none; gives what it prints."""
        if not node.child_count:
            return ""
        walker = self._walker
        walker.budget.enter()
        try:
            if redirections := self._attached.pop(node.id, None):
                plan = self._redirections.plan(redirections, stdin)
                return self._redirections.write(plan, self.run(node, plan.stdin))
            runner = self._runners.get(node.type)
            return runner(node, stdin) if runner else self._each(node, stdin)
        finally:
            walker.budget.leave()

    def _each(self, node: Node, stdin: str | None) -> str:
        return bounded("".join([self.run(child, stdin) for child in node.children]))

    def _command(self, node: Node, stdin: str | None) -> str:
        settings: list[Node] = []
        words: list[Node] = []
        others: list[Node] = []
        for child in node.children:
            kind = child.type
            (settings if kind == "variable_assignment" else others if kind in _ASIDE else words).append(child)
        if not words:
            return self._each(node, stdin)
        walker = self._walker
        fields = walker.words.fields(words)
        plan = self._redirections.plan(others, stdin)
        with self._given(settings):
            output = walker.execute(fields, plan.stdin)
        return self._redirections.write(plan, output)

    @contextmanager
    def _given(self, settings: list[Node]) -> Iterator[None]:
        """Assignments before a command hold for that command alone."""
        if not settings:
            yield
            return
        variables = self._walker.scope.variables
        before = {name: variables.get(name) for name in (text_of(node.children[0]) for node in settings)}
        for node in settings:
            self._assignment(node, None)
        yield
        for name, value in before.items():
            if value is None:
                variables.pop(name, None)
            else:
                variables[name] = value

    def _pipeline(self, node: Node, stdin: str | None) -> str:
        output = stdin
        for child in node.children:
            if child.is_named:
                with self._walker.subshell():
                    output = self.run(child, output)
        return output or ""

    def _list(self, node: Node, stdin: str | None) -> str:
        chain = [node]
        while chain[-1].children and chain[-1].children[0].type == "list":  # a && b && c leans to the left
            chain.append(chain[-1].children[0])
        output = self.run(chain[-1].children[0], stdin)
        for link in reversed(chain):
            with self._walker.branch():
                output += "".join([self.run(child, stdin) for child in link.children[1:]])
        return output

    def _redirected(self, node: Node, stdin: str | None) -> str:
        body = [child for child in node.children if child.type not in _REDIRECTIONS]
        if len(body) == 1 and body[0].type in {"pipeline", "list"}:
            # The parser hangs it on the whole; the shell gives it to the last command.
            last = [child for child in body[0].children if child.is_named][-1]
            self._attached[last.id] = [child for child in node.children if child.type in _REDIRECTIONS]
            return self.run(body[0], stdin)
        plan = self._redirections.plan([child for child in node.children if child.type in _REDIRECTIONS], stdin)
        output = "".join([self.run(child, plan.stdin) for child in body])
        return self._redirections.write(plan, output)

    def _lone_redirect(self, node: Node, stdin: str | None) -> str:
        plan = self._redirections.plan([node], stdin)
        return self._redirections.write(plan, plan.stdin or "")

    def _subshell(self, node: Node, stdin: str | None) -> str:
        with self._walker.subshell():
            return self._each(node, stdin)

    def _conditional(self, node: Node, stdin: str | None) -> str:
        with self._walker.branch():
            return self._each(node, stdin)

    def _for(self, node: Node, stdin: str | None) -> str:
        walker, children = self._walker, node.children
        words = [child for child in children[2:] if child.is_named and child.type != "do_group"]
        listed = any(child.type == "in" for child in children)
        values = walker.words.fields(words) if listed else walker.scope.arguments or [UNKNOWN]
        output, name = "", text_of(children[1])
        for value in walker.rounds(values):
            walker.scope.variables[name] = value
            output += "".join([self.run(child, stdin) for child in children if child.type == "do_group"])
        return output

    def _function(self, node: Node, stdin: str | None) -> str:
        named = [child for child in node.children if child.is_named]
        name = text_of(named[0])
        self._walker.scope.functions[name] = named[1]
        if _is_bomb(named[1], name):
            self._walker.report(dangers.FORK_BOMB, "function")
        return ""

    def _assignment(self, node: Node, stdin: str | None) -> str:
        value, name = self._assigned(node), node.children[0]
        scope = self._walker.scope
        if name.type == "subscript":
            self._walker.visit(name)
            scope.set(text_of(name.children[0]), UNKNOWN)
            return ""
        scope.set(text_of(name), value)
        self._walker.note("=", text_of(name), value if isinstance(value, str) else UNKNOWN)
        return ""

    def _assigned(self, node: Node) -> Value:
        children = node.children
        value: Value = self._right_side(children[2]) if children[2:] else ""
        if children[1].type != "+=":
            return value
        before = self._walker.scope.get(text_of(children[0]))
        if isinstance(before, str) and isinstance(value, str):
            return before + value
        return [*before, *value] if isinstance(before, list) and isinstance(value, list) else UNKNOWN

    def _right_side(self, node: Node) -> Value:
        if node.type == "array":
            return self._walker.words.fields(child for child in node.children if child.is_named)
        return self._walker.words.value(node)

    def _declaration(self, node: Node, stdin: str | None) -> str:
        for child in node.children:
            if child.type == "variable_assignment":
                self._assignment(child, stdin)
            elif child.is_named:
                for word in self._walker.words.fields([child]):
                    self._walker.execute(["declare", word])
        return ""

    def _unset(self, node: Node, stdin: str | None) -> str:
        words = self._walker.words.fields(child for child in node.children if child.is_named)
        self._walker.execute(["unset", *words], stdin)
        return ""


_REDIRECTIONS = frozenset({"file_redirect", "heredoc_redirect", "herestring_redirect"})
_ASIDE = _REDIRECTIONS | {"comment"}


def _is_bomb(body: Node, name: str) -> bool:
    """Whether a function's body starts itself twice at once, in a pipe or in the background."""
    waiting = [body]
    while waiting:
        node = waiting.pop()
        if node.type == "function_definition":
            continue
        calls = sum(child.type == "command" and text_of(child.children[0]) == name for child in node.children)
        if calls > 1 and (node.type == "pipeline" or any(child.type == "&" for child in node.children)):
            return True
        waiting.extend(node.children)
    return False
