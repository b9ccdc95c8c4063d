"""generate: the chosen model answers a request that a guardrail provably let pass."""

from __future__ import annotations

from collections.abc import Callable

from security.guardrails import Guardrail
from switchtower.envelope import Role, admit, unpack
from switchtower.messages import Completion, Message, RoutingDecision, Screened, UserRequest
from switchtower.models import ModelCard, Usage
from switchtower.queues import ROUTE
from tasks.disguise import disguise
from tasks.line import identity
from tasks.release import Release, onset_of
from tasks.station import Body
from tasks.work import Work
from workers.providers.base import Answering


def local_generator(engine: Answering, guardrail: Guardrail) -> Body:
    """The body of the local generate station."""
    onset_of(guardrail)  # now, and not while the first user waits

    def generate(work: Work[RoutingDecision]) -> Message:
        guise = disguise(work, proven(work).subject)
        card = work.message.card
        release = Release(work, guardrail, guise.rehydration())
        asked = guise.request
        answer = engine.generate(
            conversation(asked, card), card.adapter, asked.sampling, release, _stop(work), asked.format
        )
        if answer.scores is not None:
            release(answer.text)  # a label is chosen, not written: no piece of it has come yet
        release.close()
        work.check()
        usage = Usage(
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            cost=(answer.prompt_tokens + answer.completion_tokens) * card.cost_per_token,
        )
        return Completion(
            text=answer.text,
            model=card.name,
            adapter=card.adapter,
            usage=usage,
            finish_reason=answer.finish_reason,
            scores=answer.scores,
            **work.message.heirloom(),
        )

    return generate


def proven(work: Work[RoutingDecision]) -> Screened[UserRequest]:
    """The screened request, on the guardrail's own seal; a router's word is not enough."""
    proof = work.message.screened
    admit(proof, work.runtime.ring, ROUTE, identity(work.job, ROUTE), {Role.GUARDRAIL})
    return unpack(proof, Screened[UserRequest])


def conversation(request: UserRequest, card: ModelCard) -> list[dict[str, str]]:
    """The chat turns that the model is asked with."""
    system = [{"role": "system", "content": card.system_prompt}] if card.system_prompt else []
    history = [{"role": turn.role, "content": turn.text} for turn in request.history]
    return [*system, *history, {"role": "user", "content": request.prompt}]


def _stop(work: Work[RoutingDecision]) -> Callable[[], str | None]:
    def stop() -> str | None:
        work.check()
        return None

    return stop
