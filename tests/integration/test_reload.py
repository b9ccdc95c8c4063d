"""A worker takes up changed rules by itself; a broken pack changes nothing, and is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchtower.errors import GuardrailRefused
from switchtower.jobs import ALERTS, AUDIT
from switchtower.messages import SecurityAlert
from tests.conftest import expect_no_leak
from tests.support.harness import Harness, harness
from tests.support.wait import until
from workers.system import wait_ready

RULE = """\
[[rule]]
name = "{word}_is_out"
pattern = '\\b{word}\\b'
applies_to = ["output"]
risk = "medium"
action = "block"
explanation = "This word is not wanted here; leave it out."
matches = ["{word}"]
passes = ["something else"]
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rule file of the deployment's own."""
    return tmp_path_factory.mktemp("rules") / "own.toml"


@pytest.fixture(scope="module", params=["threads", "prefork"])
def line(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, pack: Path) -> Iterator[Harness]:
    """A line whose guardrail looks at its rules ten times a second."""
    pack.write_text(RULE.format(word="apple"))
    with harness(tmp_path_factory.mktemp("line")) as made:
        command = [sys.executable, "-m", "switchtower", "worker", "guardrail", f"--pool={request.param}"]
        own = {"SWITCHTOWER_SECURITY__RULES": json.dumps([str(pack)]), "SWITCHTOWER_SECURITY__RELOAD_S": "0.1"}
        made.supervisor.start("guardrail", *command, "--concurrency=1", **own, SWITCHTOWER_SECURITY__INJECTION="off")
        made.start("router", "gpu", "upkeep")
        wait_ready(made.settings, made.supervisor, ["guardrail"])
        yield made
        expect_no_leak(made)


def refused(line: Harness, text: str) -> bool:
    """Whether the echo's answer is refused."""
    try:
        line.client.result(line.client.submit(text), timeout=30)
    except GuardrailRefused:
        return True
    return False


def test_a_new_rule_refuses_without_a_restart_and_a_broken_one_changes_nothing(line, pack):
    assert refused(line, "an apple")
    assert not refused(line, "a pear")
    pid = line.supervisor.processes["guardrail"].pid

    pack.write_text(RULE.format(word="pear"))
    until(lambda: refused(line, "a pear"), "the new rule", seconds=60)
    assert not refused(line, "an apple")

    pack.write_text(RULE.format(word="plum").replace("pattern = '", "pattern = '("))
    alert = until(lambda: of_rules(line), "the alert", seconds=60)
    assert f"{pack}:3: rule `plum_is_out`: pattern: " in alert.summary
    assert not alert.suggests_lockdown
    assert refused(line, "a pear")
    assert not refused(line, "an apple")
    assert any("RuleError" in entry["e"] for _, entry in line.redis.xrange(AUDIT))
    assert line.supervisor.processes["guardrail"].pid == pid


def of_rules(line: Harness) -> SecurityAlert | None:
    """The one alert about rules, or None while there is none; fails where there are more."""
    alerts = [SecurityAlert.model_validate_json(entry["e"]) for _, entry in line.redis.xrange(ALERTS)]
    found = [alert for alert in alerts if alert.source.startswith("rules/")]
    assert len(found) <= 1
    return found[0] if found else None
