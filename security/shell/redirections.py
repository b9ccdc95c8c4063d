"""Redirections: what a command reads instead of the terminal, and where its output goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tree_sitter import Node

from security.shell.marks import DOCUMENT, open_ended
from security.shell.syntax import text_of

if TYPE_CHECKING:
    from security.shell.walker import Walker


@dataclass(slots=True)
class Plan:
    """The redirections of one statement."""

    stdin: str | None
    outputs: list[tuple[str, str]] = field(default_factory=list)
    following: list[Node] = field(default_factory=list)
    """What the parser puts into a here-document's node although it follows the command: pipes and lists."""


class Redirections:
    """Reads and carries out redirections for a walker."""

    def __init__(self, walker: Walker, run: Callable[[Node, str | None], str]) -> None:
        self._walker = walker
        self._run = run

    def plan(self, nodes: list[Node], stdin: str | None) -> Plan:
        """Evaluate redirections in their order."""
        plan = Plan(stdin)
        for node in nodes:
            if node.type == "heredoc_redirect":
                self._document(node, plan)
            elif node.type == "herestring_redirect":
                plan.stdin = self._walker.words.value(node.children[-1]) + "\n"
            elif node.type == "file_redirect":
                self._file(node, plan)
        return plan

    def write(self, plan: Plan, output: str) -> str:
        """Hand the output to where it goes; gives what is left for the next command of the pipe."""
        rest = output
        for operator, target in plan.outputs:
            if not operator[0].isdigit() or operator[0] == "1":
                self._store(operator, target, output)
                rest = ""
        for node in plan.following:
            rest = self._run(node, rest)
        return rest

    def _store(self, operator: str, target: str, output: str) -> None:
        if open_ended(target) or target == "/dev/null":
            return
        before = self._walker.read(target) if ">>" in operator else ""
        self._walker.write(target, before + output)

    def _file(self, node: Node, plan: Plan) -> None:
        children = node.children
        number = text_of(children[0]) if children[0].type == "file_descriptor" else ""
        operator = children[1].type if number else children[0].type
        targets = self._walker.words.fields(child for child in children[1 + bool(number) :] if child.is_named)
        for target in targets[:1]:
            self._judge(operator, target, number)
            if operator == "<":
                plan.stdin = self._walker.read(target) if number in {"", "0"} else plan.stdin
            elif ">" in operator and not (operator.endswith("&") and target.isdigit()):
                plan.outputs.append((number + operator, target))

    def _judge(self, operator: str, target: str, number: str) -> None:
        """A redirection is judged like a command of the operator's name."""
        name = "<" if operator[0] == "<" else ">>" if ">>" in operator else ">"
        if target[:1] != DOCUMENT:
            self._walker.note(name, target, number)

    def _document(self, node: Node, plan: Plan) -> None:
        """A here-document that was left in the script: its body is passed over, what follows its operator is not."""
        for child in node.children:
            if child.type == "file_redirect":
                self._file(child, plan)
            elif child.is_named and child.type != "heredoc_end":
                plan.following.append(child)
