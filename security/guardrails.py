"""The guardrail: one text in, one explained verdict out, and a block whenever it cannot tell."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from billiard.exceptions import SoftTimeLimitExceeded

from security.detector import Detector
from security.matcher import Matcher, MatcherError
from security.normalize import views
from security.packs import Rule, RulePack
from switchtower.errors import RuleError
from switchtower.models import Action, Finding, RiskLevel, Surface, Verdict

MAX_CHARS = 65_536
_log = logging.getLogger(__name__)

GUARDRAIL_ERROR = Finding(
    rule="guardrail_error",
    risk=RiskLevel.HIGH,
    action=Action.BLOCK,
    explanation="The guardrail could not judge this text, so it blocks it; see the worker's log for the cause.",
)


class Guardrail:
    """Judges texts by a rule pack; safe to share between threads."""

    def __init__(self, pack: RulePack, max_chars: int = MAX_CHARS, detectors: Iterable[Detector] = ()) -> None:
        self._detectors = tuple(detectors)
        self._engine = _Engine(pack, self._detectors)
        self._max_chars = max_chars
        self._reloading = Lock()

    @property
    def pack(self) -> RulePack:
        """The pack in force."""
        return self._engine.pack

    def judge(self, text: str, surface: Surface) -> Verdict:
        """Say whether the text may pass here and why; whatever goes wrong inside is a block."""
        engine = self._engine  # read once: a reload in between must not mix two packs in one verdict
        try:
            findings = self._findings(engine, text, surface)
        except SoftTimeLimitExceeded:  # the lockdown's interruption is no judgement
            raise
        except Exception as error:  # noqa: BLE001 - a guardrail that crashes blocks
            # The type alone: an error's message may quote the text.
            _log.error("The guardrail failed on %s with %s; blocked.", surface, type(error).__name__)
            findings = (GUARDRAIL_ERROR,)
        return _verdict(findings, surface, engine.version)

    def reload(self, paths: Iterable[Path] | None = None) -> RulePack:
        """Read the pack again and swap it in whole, or raise a RuleError and keep the old one."""
        with self._reloading:
            pack = RulePack.load(self.pack.paths if paths is None else paths)
            engine = _Engine(pack, self._detectors)
            self._engine = engine
        return engine.pack

    def _findings(self, engine: _Engine, text: str, surface: Surface) -> tuple[Finding, ...]:
        if len(text) > self._max_chars:
            return (_too_long(self._max_chars),)
        return engine.findings(text, surface) if text else ()


class _Engine:
    """A pack with one compiled matcher per surface, and the detectors beside it."""

    def __init__(self, pack: RulePack, detectors: tuple[Detector, ...]) -> None:
        self.pack = pack
        self.version = _version(pack, detectors)
        self._detectors = detectors
        self._rules = {surface: pack.on(surface) for surface in Surface}
        self._found = {surface: tuple(map(_finding, rules)) for surface, rules in self._rules.items()}
        try:
            self._matchers = {s: Matcher([rule.pattern for rule in rules]) for s, rules in self._rules.items()}
        except MatcherError as error:
            raise RuleError(f"The rules do not fit into one matcher: {error}") from error

    def findings(self, text: str, surface: Surface) -> tuple[Finding, ...]:
        hits = self._matchers[surface].search(views(text, surface))
        ruled = tuple(self._found[surface][place] for place in sorted(hits))
        return (*ruled, *(finding for one in self._detectors for finding in one.findings(text, surface)))


def _version(pack: RulePack, detectors: tuple[Detector, ...]) -> str:
    if not detectors:
        return pack.hash
    return hashlib.sha256("\n".join([pack.hash, *(one.version for one in detectors)]).encode()).hexdigest()


def _finding(rule: Rule) -> Finding:
    return Finding(rule=rule.name, risk=rule.risk, action=rule.action, explanation=rule.explanation)


def _too_long(limit: int) -> Finding:
    return Finding(
        rule="text_too_long",
        risk=RiskLevel.MEDIUM,
        action=Action.BLOCK,
        explanation=f"The text is longer than the {limit} characters that the guardrail reads; send it in parts.",
    )


def _verdict(findings: tuple[Finding, ...], surface: Surface, pack: str) -> Verdict:
    ordered = tuple(sorted(findings, key=lambda f: (-f.action.rank, -f.risk.rank, f.rule)))
    action = max((f.action for f in ordered), key=lambda a: a.rank, default=Action.ALLOW)
    risk = max((f.risk for f in ordered), key=lambda r: r.rank, default=RiskLevel.LOW)
    return Verdict(action=action, risk=risk, surface=surface, pack=pack, findings=ordered)
