"""The whole guardrail as a deployment runs it: rules, shell analysis, trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from security.guardrails import Guardrail
from security.injection.detector import injection_detector
from security.packs import RULES, RulePack
from security.shell.guardrail import ShellGuardrail
from switchtower.settings import Security


def make_guardrail(security: Security, packs: Sequence[Path] = (), *, prompts: bool = True) -> Guardrail:
    """The guardrail by these settings, by other `packs` where they are named; without `prompts` it reads answers only.

    Raises `RuleError`, and `MissingDependency` where the trained model cannot be loaded.
    """
    pack = RulePack.load(packs or [RULES, *security.rules])
    injection = injection_detector(security) if prompts else None
    if injection:
        injection.warm()  # now, so that no first user waits, and before any fork, so that children share the weights
    return ShellGuardrail(pack, security.max_text_chars, [injection] if injection else [])
