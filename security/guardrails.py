"""The guardrail: one text in, one explained verdict out, and a block whenever it cannot tell."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from billiard.exceptions import SoftTimeLimitExceeded

from security.detector import Detector
from security.packs import RulePack
from switchtower.models import Action, Finding, RiskLevel, Surface, Verdict

MAX_CHARS = 65_536
_log = logging.getLogger(__name__)

GUARDRAIL_ERROR = Finding(
    rule="guardrail_error",
    risk=RiskLevel.HIGH,
    action=Action.BLOCK,
    explanation="The guardrail could not judge this text, so it blocks it; see the worker's log for the cause.",
)
NOT_UNICODE = Finding(
    rule="not_unicode",
    risk=RiskLevel.MEDIUM,
    action=Action.BLOCK,
    explanation="The text holds halves of characters (lone surrogates), which no model reads; send whole characters.",
)


class Guardrail:
    """Judges texts by a rule pack; safe to share between threads."""

    def __init__(self, pack: RulePack, max_chars: int = MAX_CHARS, detectors: Iterable[Detector] = ()) -> None:
        """Raises RuleError where the rules do not fit into one matcher."""
        self._detectors = tuple(detectors)
        self._engine = _Engine(pack, self._detectors)
        self._max_chars = max_chars

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
        except UnicodeEncodeError:
            findings = (NOT_UNICODE,)
        except Exception as error:  # noqa: BLE001 - a guardrail that crashes blocks
            # The type alone: an error's message may quote the text.
            _log.error("The guardrail failed on %s with %s; blocked.", surface, type(error).__name__)
            findings = (GUARDRAIL_ERROR,)
        return _verdict(findings, surface, engine.version)

    def views(self, text: str, surface: Surface) -> dict[str, str]:
        """In which view of the text each rule that it breaks was found first; raises what `judge` would block for."""
        return self._engine.pack.book.hits(text, surface)

    def reload(self, paths: Iterable[Path] | None = None) -> RulePack:
        """Read the pack again and swap it in whole, or raise a RuleError and keep the old one; one thread at a time."""
        pack = RulePack.load(self.pack.paths if paths is None else paths)
        self._engine = _Engine(pack, self._detectors)
        return pack

    def _findings(self, engine: _Engine, text: str, surface: Surface) -> tuple[Finding, ...]:
        if len(text) > self._max_chars:
            return (_too_long(self._max_chars),)
        return engine.findings(text, surface) if text else ()


class _Engine:
    """A pack and the detectors beside it."""

    def __init__(self, pack: RulePack, detectors: tuple[Detector, ...]) -> None:
        self.pack = pack
        self.version = _version(pack, detectors)
        self._book = pack.book
        self._detectors = detectors
        self._found = {rule.name: rule.finding for rule in pack.rules}

    def findings(self, text: str, surface: Surface) -> tuple[Finding, ...]:
        ruled = tuple(self._found[name] for name in self._book.hits(text, surface))
        return (*ruled, *(finding for one in self._detectors for finding in one.findings(text, surface)))


def _version(pack: RulePack, detectors: tuple[Detector, ...]) -> str:
    if not detectors:
        return pack.hash
    return hashlib.sha256("\n".join([pack.hash, *(one.version for one in detectors)]).encode()).hexdigest()


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
