"""`switchtower guardrail …`: try a text, validate packs, list the rules in force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from security.guardrails import Guardrail
from security.packs import RULES, RulePack
from security.rule import Rule
from switchtower.errors import RuleError
from switchtower.models import Finding, Surface, Verdict

app = typer.Typer(name="guardrail", help="Try the guardrail, validate rule packs, list rules.", no_args_is_help=True)

Packs = Annotated[list[Path] | None, typer.Option("--pack", help="A pack file or folder; may be repeated.")]


@app.command("test")
def try_text(
    text: Annotated[str, typer.Argument(help="The text to judge.")],
    surface: Annotated[Surface, typer.Option(help="Where the text stands.")] = Surface.INPUT,
    pack: Packs = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Judge a text as the line does and explain the verdict; exit code 0 when it passes, 1 when it is refused."""
    guardrail = _guardrail(pack, prompts=surface in (Surface.INPUT, Surface.DOCUMENT))
    verdict, views = guardrail.judge(text, surface), _views(guardrail, text, surface)
    if as_json:
        typer.echo(json.dumps(_told(verdict, views), indent=2))
    else:
        _show(verdict, views)
    raise typer.Exit(0 if verdict.passed else 1)


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="Pack files or folders.")]) -> None:
    """Validate rule packs together, with all their examples; exit code 1 when one is refused."""
    pack = _load(files)
    Console().print(f"{len(pack.rules)} rules are sound, pack {pack.hash}", soft_wrap=True)


@app.command()
def rules(pack: Packs = None) -> None:
    """List the rules of a pack, worst first."""
    table = Table(Column("rule", no_wrap=True), "risk", "action", "applies to", "explanation")
    for rule in sorted(_load(pack).rules, key=lambda rule: (-rule.risk.rank, rule.name)):
        table.add_row(*_row(rule))
    Console().print(table)


def _load(paths: list[Path] | None) -> RulePack:
    with _said():
        return RulePack.load(paths or [RULES])


def _guardrail(paths: list[Path] | None, *, prompts: bool) -> Guardrail:
    from security.assembled import make_guardrail
    from switchtower.settings import settings

    with _said():
        return make_guardrail(settings().security, paths or (), prompts=prompts)


@contextmanager
def _said() -> Iterator[None]:
    """Say what is wrong with a pack in red, and end."""
    try:
        yield
    except RuleError as error:
        Console(stderr=True).print(escape(str(error)), style="red", soft_wrap=True)
        raise typer.Exit(1) from error


def _views(guardrail: Guardrail, text: str, surface: Surface) -> dict[str, str]:
    try:
        return guardrail.views(text, surface)
    except UnicodeEncodeError:
        return {}


def _row(rule: Rule) -> tuple[str, ...]:
    surfaces = ", ".join(surface for surface in Surface if surface in rule.applies_to)
    return rule.name, rule.risk.value, rule.action.value, surfaces, escape(rule.explanation)


def _told(verdict: Verdict, views: dict[str, str]) -> dict[str, object]:
    findings = [finding.model_dump(mode="json") | {"view": views.get(finding.rule)} for finding in verdict.findings]
    return verdict.model_dump(mode="json") | {"findings": findings}


def _show(verdict: Verdict, views: dict[str, str]) -> None:
    title = f"{verdict.action.value} ({verdict.risk.value} risk) on {verdict.surface.value}"
    if not verdict.findings:
        Console().print(f"{title}: no rule matched, pack {verdict.pack}", soft_wrap=True)
        return
    table = Table(Column("rule", no_wrap=True), "risk", "action", "found in the text", "explanation", title=title)
    for finding in verdict.findings:
        table.add_row(*_finding_row(finding, views))
    Console().print(table)
    Console().print(f"pack {verdict.pack}", soft_wrap=True)


def _finding_row(finding: Finding, views: dict[str, str]) -> tuple[str, ...]:
    view = views.get(finding.rule, "")
    return finding.rule, finding.risk.value, finding.action.value, view, escape(finding.explanation)
