"""Private values stay here: where policy says so, a model is asked in placeholders, and its answer gets them filled in.

The generator takes the values out of a conversation and puts them into the job's vault; what it streams has them again.
The review judges the answer as the model wrote it, takes the values from the vault, and fills them in. It takes them
only if the guardrail's own proof of the request, which lies with them, holds each of them: so a vault can say nothing
that the user has not said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from celery.utils.log import get_task_logger
from redis.exceptions import ResponseError

from security.redaction.placeholders import tag_of
from security.redaction.rehydration import Rehydration, mentioned, rehydrate
from security.redaction.vault import VAULT, Entries, Vault, VaultLost
from switchtower.envelope import Role, admit, unpack
from switchtower.errors import EnvelopeRefused
from switchtower.messages import RoutingDecision, Screened, UserRequest
from switchtower.models import Action, Finding, ModelCard, Provider, RiskLevel
from switchtower.queues import ROUTE, step_id
from tasks.line import identity
from tasks.work import Work

logger = get_task_logger(__name__)

WRITERS = frozenset({Role.GPU, Role.CLOUD})
VAULT_LOST = Finding(
    rule="vault_lost",
    risk=RiskLevel.LOW,
    action=Action.ALLOW,
    explanation="The private values that were kept from the model are lost; their placeholders stand in the answer.",
)


@dataclass(frozen=True)
class Disguise:
    """A request as the model may see it, and the values that it does not see."""

    request: UserRequest
    values: dict[str, str] = field(default_factory=dict)

    def rehydration(self) -> Rehydration | None:
        """What fills the values into a streamed answer; None where there are none."""
        return Rehydration(self.values, tag_of(self.request.job)) if self.values else None


def disguise(work: Work[RoutingDecision], request: UserRequest) -> Disguise:
    """The request for the model of this step, its private values in the vault where policy says so."""
    if not wanted(work.runtime.settings.security.redact, work.message.card):
        return Disguise(request)
    made = redacted(request)
    if made.values:
        _keep(work, made.values)
    return made


def wanted(policy: str, card: ModelCard) -> bool:
    """Whether the model must not see private values."""
    return policy == "always" or (policy == "cloud" and card.provider is not Provider.LOCAL)


def redacted(request: UserRequest) -> Disguise:
    """The request in placeholders, all that the user has said; the same request gives the same ones."""
    from security.redaction.redactor import Redactor  # its patterns take a moment, and most workers never need them

    texts = _texts(request)
    found = Redactor().redact_all(texts, tag_of(request.job))
    turns, stops = len(request.history), len(request.history) + 1 + len(request.sampling.stop)
    past, prompt, stop = found.texts[:turns], found.texts[turns], found.texts[turns + 1 : stops]
    words = dict(zip(texts[stops:], found.texts[stops:], strict=True))
    shape = request.format.reworded(words.__getitem__) if request.format else None
    history = tuple(turn.model_copy(update={"text": text}) for turn, text in zip(request.history, past, strict=True))
    sampling = request.sampling.model_copy(update={"stop": stop})
    seen = request.model_copy(update={"prompt": prompt, "history": history, "sampling": sampling, "format": shape})
    return Disguise(seen, found.entries)


def restored(work: Work[Any], *texts: str) -> tuple[tuple[str, ...], Finding | None]:
    """The reviewed texts with the job's values in them, or as they are and a finding that says that they are lost."""
    tag = tag_of(work.job)
    if not any(mentioned(text, tag) for text in texts):
        return texts, None
    try:
        values = _values(work)
        return tuple(rehydrate(text, values, tag) for text in texts), None
    except (VaultLost, ResponseError) as error:
        logger.warning("the vault of job %s is lost: %s", work.job, _why(error))
        return texts, VAULT_LOST


def _keep(work: Work[RoutingDecision], values: dict[str, str]) -> None:
    proof = work.message.screened
    entries = Entries(values=values, screened=proof, **work.message.heirloom())
    sealed = work.seal(entries, VAULT, step_id(work.job, VAULT))
    try:
        Vault(work.runtime.ledger.redis).put(sealed, work.runtime.ring.key(proof))
    except ResponseError as error:  # the answer can still be given, in placeholders
        logger.error("the vault of job %s cannot be written: %s", work.job, type(error).__name__)


def _values(work: Work[Any]) -> dict[str, str]:
    """The values in the job's vault; raises `VaultLost` unless they are the request's own."""
    sealed = Vault(work.runtime.ledger.redis).take(work.job, work.runtime.signer.key)
    try:
        admit(sealed, work.runtime.ring, VAULT, step_id(work.job, VAULT), WRITERS)
        entries = unpack(sealed, Entries)
        admit(entries.screened, work.runtime.ring, ROUTE, identity(work.job, ROUTE), {Role.GUARDRAIL})
        asked = "\n".join(_texts(unpack(entries.screened, Screened[UserRequest]).subject))
    except EnvelopeRefused as refused:
        raise VaultLost(type(refused).__name__) from None
    if not all(value in asked for value in entries.values.values()):
        raise VaultLost("it holds what the user has not said")
    return entries.values


def _texts(request: UserRequest) -> tuple[str, ...]:
    """All that the user has said: the history, the prompt, where to stop, and what the answer must look like."""
    shape = request.format.texts if request.format else ()
    return (*(turn.text for turn in request.history), request.prompt, *request.sampling.stop, *shape)


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, VaultLost) else type(error).__name__
