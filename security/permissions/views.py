"""How questions, grants and decisions look on a terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from security.permissions.grants import Grant
from security.permissions.questions import Answer, Question
from security.permissions.rulings import Policy
from switchtower.messages import Message, PermissionDecision, now_ms

NO_QUESTIONS = "no question is open"
NO_GRANTS = (
    "no grant is in force; what models may do follows from the policies alone (`switchtower permissions policies`)"
)


def print_json(found: Iterable[Message]) -> None:
    """A JSON list, readable by other programs."""
    print(json.dumps([one.model_dump(mode="json") for one in found], indent=1))


def shown(text: str) -> str:
    """Somebody else's text, made harmless: no control characters, nothing that reorders letters, no markup.

    A model could otherwise write escape sequences that paint another question over its own.
    """
    return escape("".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text))


def questions(found: Sequence[Question]) -> Table | str:
    """The open questions; the last column is the model's own text."""
    if not found:
        return NO_QUESTIONS
    table = Table(_id("question"), "left", "model", "for", "wants to", "with", "tainted", "the model says")
    for one in found:
        asked = one.request
        who, tainted = f"{asked.user}@{asked.tenant}", Text("yes", "red") if one.tainted else Text("no")
        row = (one.id, left(one.expires), asked.model, who, asked.action, shown(one.resource))
        table.add_row(*row, tainted, shown(asked.explanation[:200]))
    return table


def grants(found: Sequence[Grant]) -> Table | str:
    """The grants in force."""
    if not found:
        return NO_GRANTS
    table = Table(_id("grant"), "left", "model", "tenant", "may", "with", "job", "once", "by", "reason")
    for one in found:
        thing = shown(one.resource) + (" and all in it" if one.beneath else "")
        row = (one.id, left(one.expires), one.model, one.tenant, one.action, thing, one.bound or "any")
        table.add_row(*row, "yes" if one.once else "no", one.user, shown(one.reason))
    return table


def policies(found: Iterable[Policy], version: str) -> Table:
    """Policies, and where they stand."""
    table = Table(_id("policy"), "effect", "explanation", "file", caption=f"version {version[:12]}")
    for one in found:
        table.add_row(one.id, one.effect, escape(one.explanation), escape(Path(one.place).name))
    return table


def tell_grant(console: Console, grant: Grant) -> None:
    """What was just permitted."""
    how = "once, " if grant.once else ""
    where = "in this job alone, " if grant.bound else ""
    thing = shown(grant.resource) + (" and all in it" if grant.beneath else "")
    console.print(f"[green]granted[/] to {grant.model} of {grant.tenant}: {grant.action} {thing}")
    console.print(f"good {how}{where}for {left(grant.expires)}; `switchtower permissions revoke {grant.id}` ends it")


def tell_question(console: Console, question: Question, answer: Answer | None) -> None:
    """Everything about one question."""
    asked = question.request
    console.print(f"{question.id}: {_standing(question, answer)}")
    console.print(f"{asked.model} wants to {asked.action} {shown(question.resource)}")
    console.print(f"for {asked.user} of {asked.tenant}, in job {question.job}")
    if question.tainted:
        console.print("[red]tainted[/]: text of strangers is in its context; a yes is good once, for this job alone")
    console.print(f"policy: {escape(question.reason)} ({', '.join(question.policies)})")
    console.print(f"the model says (do not take it for the truth): {shown(asked.explanation)}")


def tell_decision(console: Console, decision: PermissionDecision) -> None:
    """A decision and why."""
    word = "[green]granted[/]" if decision.granted else "[yellow]asked[/]" if decision.pending else "[red]denied[/]"
    thing = f" {shown(decision.resource)}" if decision.resource else ""
    console.print(f"{word}: {decision.model} {decision.action}{thing}: {shown(decision.reason)}")
    decided = ", ".join(decision.policies) or "none"
    console.print(f"[dim]policies: {decided}; version {(decision.version or '?')[:12]}[/]")


def _id(header: str) -> Column:
    """A column of ids, which are copied, and so never cut."""
    return Column(header, no_wrap=True)


def left(expires: int) -> str:
    """The time until then, in its two largest units."""
    seconds = max(0, expires - now_ms()) // 1000
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"


def _standing(question: Question, answer: Answer | None) -> str:
    if answer is None:
        return "nobody answered in time: denied" if question.over else f"open for {left(question.expires)}"
    at = datetime.fromtimestamp(answer.created // 1000, UTC).isoformat(timespec="seconds")
    word = "[green]approved[/]" if answer.approved else "[red]denied[/]"
    return f"{word} by {answer.user} at {at}" + (f": {shown(answer.reason)}" if answer.reason else "")
