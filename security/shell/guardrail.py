"""A guardrail that reads commands by their syntax: a rule that hits only what a command *mentions* gives way.

The rules see a command as text, and would also hit a commit message or a here-document in which another command stands.
So on the surface *command*, where the analysis could read all of it, the rules named here must also hit the command
without its data. All other rules stay in force as they are, and so do these wherever the analysis cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from security.detector import Detector
from security.guardrails import MAX_CHARS, Guardrail
from security.packs import RulePack
from security.shell.detector import ShellDetector
from security.shell.names import names
from security.shell.skeleton import without_data
from switchtower.models import Action, RiskLevel, Surface, Verdict

COVERED = names(
    "dangerous_rm rm_of_roots rm_no_preserve_root rm_absolute find_delete_root script_deletes_tree disk_format"
    " disk_overwrite fork_bomb permissions_of_root world_writable setuid_shell pipe_to_shell decoded_execution"
    " account_file_write account_change reverse_shell credential_read login_key_planted history_wipe log_wipe"
    " kill_everything crontab_remove schedule_planted firewall_off machine_stop service_stop git_discard data_drop"
    " infrastructure_delete windows_wipe"
)
"""Built-in rules about what runs; the analysis refuses every example of theirs as hard, as a test holds."""


class ShellGuardrail(Guardrail):
    """A guardrail with the shell analysis in it."""

    def __init__(self, pack: RulePack, max_chars: int = MAX_CHARS, detectors: Iterable[Detector] = ()) -> None:
        super().__init__(pack, max_chars, (ShellDetector(), *detectors))

    def judge(self, text: str, surface: Surface) -> Verdict:
        """Say whether the text may pass here and why; whatever goes wrong inside is a block."""
        verdict = super().judge(text, surface)
        if surface is not Surface.COMMAND or not self._rests_on_rules(verdict):
            return verdict
        bare = without_data(text)
        if bare is None:
            return verdict
        return _only(verdict, {finding.rule for finding in super().judge(bare, surface).findings})

    @staticmethod
    def _rests_on_rules(verdict: Verdict) -> bool:
        """Whether the verdict would be another one without the covered rules."""
        other = _only(verdict, set())
        return (other.action, other.risk) != (verdict.action, verdict.risk)


def _only(verdict: Verdict, rules: set[str]) -> Verdict:
    """The verdict without the covered rules that are not among these."""
    kept = tuple(finding for finding in verdict.findings if finding.rule in rules or finding.rule not in COVERED)
    action = max((f.action for f in kept), key=lambda action: action.rank, default=Action.ALLOW)
    risk = max((f.risk for f in kept), key=lambda risk: risk.rank, default=RiskLevel.LOW)
    return verdict.model_copy(update={"findings": kept, "action": action, "risk": risk})
