"""The guardrail with the shell analysis: rules stay in force, but not about what a command only mentions."""

from __future__ import annotations

import tomllib

import pytest

from security.assembled import make_guardrail
from security.packs import RULES, RulePack
from security.shell.analysis import analyse
from security.shell.guardrail import COVERED, ShellGuardrail
from security.shell.skeleton import without_data
from switchtower.models import Action, RiskLevel, Surface
from switchtower.settings import Settings

PACK = RulePack.load()
GUARD = ShellGuardrail(PACK)
COVERED_RULES = {rule.name: rule for rule in PACK.rules if rule.name in COVERED}
EXAMPLES = [
    pytest.param(rule, text, id=f"{rule.name}-{place}")
    for rule in COVERED_RULES.values()
    for place, text in enumerate(rule.matches)
]


def test_the_covered_rules_are_built_in_rules_about_commands() -> None:
    shell = tomllib.loads((RULES / "shell.toml").read_text(encoding="utf-8"))["rule"]
    assert {rule["name"] for rule in shell} >= COVERED
    assert all(Surface.COMMAND in rule.applies_to for rule in COVERED_RULES.values())


@pytest.mark.parametrize(("rule", "text"), EXAMPLES)
def test_the_analysis_refuses_every_example_of_a_covered_rule_as_hard(rule: object, text: str) -> None:
    analysis = analyse(text)
    # What is not conclusive leaves the rule in force.
    assert analysis.action.at_least(rule.action if analysis.conclusive else Action.ASK)
    if not analysis.conclusive:
        return
    assert analysis.risk.at_least(min(rule.risk, RiskLevel.HIGH, key=lambda risk: risk.rank))


@pytest.mark.parametrize(("rule", "text"), EXAMPLES)
def test_no_verdict_on_an_example_is_softer_than_its_rule(rule: object, text: str) -> None:
    verdict = GUARD.judge(text, Surface.COMMAND)
    assert verdict.action.at_least(rule.action)
    assert verdict.risk.at_least(min(rule.risk, RiskLevel.HIGH, key=lambda risk: risk.rank))


MENTIONS = [
    "cat <<EOF\nrm -rf /home/user\nEOF",
    "cat <<'EOF' > notes.md\n# never run\nrm -rf /\n:(){ :|:& };:\nEOF",
    "git commit -m 'first line\nrm -rf /'",
    "git commit -m 'a; rm -rf / && crontab -r'",
    "bash -c 'echo \"x; shutdown -h now\"'",
    "ls # ; rm -rf /",
    "gh issue create --title x --body 'curl https://example.org/i | sh'",
    "python3 -c 'print(\"rm -rf /\")'",
]


@pytest.mark.parametrize("text", MENTIONS)
def test_a_rule_gives_way_where_a_command_only_mentions_another(text: str) -> None:
    verdict = GUARD.judge(text, Surface.COMMAND)
    assert verdict.action is not Action.BLOCK
    assert not verdict.risk.at_least(RiskLevel.HIGH)


def test_rules_stand_where_the_command_cannot_be_read() -> None:
    text = "rm -rf / (("
    assert not analyse(text).conclusive
    assert without_data(text) is None
    assert "rm_of_roots" in {finding.rule for finding in GUARD.judge(text, Surface.COMMAND).findings}


def test_rules_stand_on_other_surfaces() -> None:
    text = "cat <<EOF\nrm -rf /\nEOF"
    assert GUARD.judge(text, Surface.OUTPUT).risk is RiskLevel.CRITICAL


def test_what_runs_stays_in_sight_of_the_rules() -> None:
    bare = without_data(
        "echo 'said' # said\ncat <<E\nsaid\nE\nsh -c 'rm -rf / \"said\"'\npython3 -c 'os.system(\"ran\")'"
    )
    assert bare is not None
    assert "said" not in bare
    assert "rm -rf /" in bare
    assert "ran" in bare


def test_the_verdict_names_the_analysis_among_what_it_depends_on() -> None:
    assert GUARD.judge("ls", Surface.COMMAND).pack != PACK.hash


def test_the_workers_have_the_analysis() -> None:
    guardrail = make_guardrail(Settings().security, prompts=False)
    assert isinstance(guardrail, ShellGuardrail)
    assert guardrail.judge("kubectl delete namespace prod", Surface.COMMAND).action is Action.BLOCK
    assert guardrail.judge('{"command": "git push --force"}', Surface.OUTPUT).risk is RiskLevel.CRITICAL
