"""review: the output is screened too, and only then delivered, with the user's own values in it."""

from __future__ import annotations

from security.guardrails import Guardrail
from switchtower.messages import Completion, JobResult, Message
from switchtower.models import Surface
from tasks.disguise import restored
from tasks.screen import enforce
from tasks.station import Body
from tasks.work import Work


def reviewer(guardrail: Guardrail) -> Body:
    """The body of the review station."""

    def review(work: Work[Completion]) -> Message:
        answer = work.message
        judged = "\n".join(answer.scores or [answer.text])
        verdict = guardrail.judge(judged, Surface.OUTPUT)
        enforce(work, verdict, judged)
        (text, *labels), lost = restored(work, answer.text, *(answer.scores or ()))
        if lost:
            verdict = verdict.model_copy(update={"findings": (*verdict.findings, lost)})
        return JobResult(
            text=text,
            model=answer.model,
            adapter=answer.adapter,
            usage=answer.usage,
            finish_reason=answer.finish_reason,
            scores=dict(zip(labels, answer.scores.values(), strict=True)) if answer.scores else None,
            verdict=verdict,
            **answer.heirloom(),
        )

    return review
