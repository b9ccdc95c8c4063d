"""screen: the guardrail judges what comes in and vouches for what may pass."""

from __future__ import annotations

from typing import Any

from security.audit.events import of_verdict
from security.guardrails import Guardrail
from security.lockdown import engage
from security.redaction.excerpt import excerpt
from switchtower.errors import GuardrailRefused
from switchtower.jobs import ALERTS
from switchtower.messages import Message, Screened, SecurityAlert, UserRequest
from switchtower.models import RiskLevel, Surface, Verdict
from tasks.station import Body
from tasks.work import Work


def screener(guardrail: Guardrail) -> Body:
    """The body of the screen station."""

    def screen(work: Work[UserRequest]) -> Message:
        request = work.message
        # A format is the user's word too: a label is answered as it stands, a schema can dictate any text.
        shape = request.format.texts if request.format else ()
        text = "\n".join([*(turn.text for turn in request.history), request.prompt, *shape])
        verdict = guardrail.judge(text, Surface.INPUT)
        enforce(work, verdict, text)
        return Screened[UserRequest](subject=request, verdict=verdict, **request.heirloom())

    return screen


def enforce(work: Work[Any], verdict: Verdict, text: str) -> None:
    """Raise `GuardrailRefused` unless the verdict passes; a critical one locks the whole line down first."""
    kept = excerpt(text, work.job) if work.runtime.settings.audit.excerpt == "redacted" else None
    work.audit(of_verdict(work.message, work.station.wire, verdict, text, kept))
    if verdict.passed:
        return
    rules = ", ".join(finding.rule for finding in verdict.findings)
    critical = verdict.risk is RiskLevel.CRITICAL
    summary = f"{verdict.surface} refused at risk {verdict.risk}: {rules}"[:500]
    alert = SecurityAlert(
        source=work.station.wire,
        verdict=verdict,
        summary=summary,
        suggests_lockdown=critical,
        **work.message.heirloom(),
    )
    redis = work.runtime.ledger.redis
    redis.xadd(ALERTS, {"e": alert.model_dump_json()}, maxlen=10_000)
    if critical:
        engage(redis, f"job {work.job}: {summary}", work.station.wire, work.runtime.signer)
    raise GuardrailRefused(summary)
