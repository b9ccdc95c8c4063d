"""Every error that Switchtower raises. A docstring is the default message.

SwitchtowerError
├── Refusal                     a job or a message that may not pass
│   ├── GuardrailRefused
│   ├── PermissionRefused
│   ├── PathEscapes
│   ├── LockdownActive
│   ├── ReleaseRefused
│   ├── EnvelopeRefused         never executed, acknowledged, counted
│   │   ├── MalformedEnvelope
│   │   ├── OversizedEnvelope
│   │   ├── UnknownVersion
│   │   ├── UnknownKey
│   │   ├── ForgedEnvelope
│   │   ├── TamperedPayload
│   │   ├── Retargeted
│   │   ├── WrongIdentity
│   │   ├── WrongRole
│   │   ├── EnvelopeExpired
│   │   ├── EnvelopeFromFuture
│   │   ├── Replayed
│   │   └── InvalidMessage
│   └── IdempotencyConflict
├── JobError                    what became of one job
│   ├── JobNotFound
│   ├── JobFailed
│   │   ├── NoCapableModel
│   │   ├── ContextOverflow
│   │   ├── FormatError
│   │   ├── AdapterError
│   │   │   ├── AdapterNotFound
│   │   │   ├── AdapterCorrupt
│   │   │   ├── AdapterForeign
│   │   │   ├── AdapterUnsupported
│   │   │   ├── AdapterOversized
│   │   │   ├── AdapterEscapes
│   │   │   ├── AdapterUnloaded
│   │   │   ├── AdapterBusy
│   │   │   └── AdapterSlotsPinned
│   │   ├── NotANumber
│   │   └── DeliveryCapExceeded
│   ├── JobExpired
│   ├── JobCancelled
│   ├── JobMoved                somebody else has the step now
│   ├── WorkerStopping
│   ├── NoModelYet              the job waits
│   ├── ModelUnavailable        the job waits
│   ├── ModelOutOfMemory        the job is routed again
│   ├── ResultTimeout
│   └── StreamDiverged
├── RuleError                   a rule pack that may not be loaded
├── PolicyError                 permission policies that may not be loaded
├── AuditBroken                 the audit trail is not what was written
├── ConfigurationError
│   ├── BaseModelError          a base model that cannot be found, trusted or loaded
│   └── MissingDependency
└── BrokerUnavailable
    └── BrokerDenied
"""

from __future__ import annotations

from typing import ClassVar


class SwitchtowerError(Exception):
    """Something went wrong in Switchtower."""

    status: ClassVar[int] = 500
    """The HTTP status that a gateway answers with."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class Refusal(SwitchtowerError):
    """This may not pass."""

    status = 403


class GuardrailRefused(Refusal):
    """The guardrail refused this text."""

    status = 422


class PermissionRefused(Refusal):
    """No policy and no grant permits this action."""


class PathEscapes(Refusal):
    """The path leads out of the folder that it must stay in."""


class LockdownActive(Refusal):
    """The line is locked down; an operator must release it with `switchtower lockdown release`."""

    status = 503


class ReleaseRefused(Refusal):
    """The lockdown stays: the release was not proven."""

    status = 401


class EnvelopeRefused(Refusal):
    """The envelope was refused; its message was acknowledged, counted and never executed."""

    status = 400
    job: str | None = None
    """The job that it says it is of, where it could be read; a forger may say anything."""


class MalformedEnvelope(EnvelopeRefused):
    """The message body is not one well-formed envelope."""


class OversizedEnvelope(EnvelopeRefused):
    """The envelope is larger than the limit in the settings."""

    status = 413


class UnknownVersion(EnvelopeRefused):
    """The envelope or its message has a schema version that this release does not read."""


class UnknownKey(EnvelopeRefused):
    """The envelope names a key that is not in the key ring."""

    status = 401


class ForgedEnvelope(EnvelopeRefused):
    """The signature does not fit the envelope's head."""

    status = 401


class TamperedPayload(EnvelopeRefused):
    """The payload is not the one that was signed."""


class Retargeted(EnvelopeRefused):
    """The envelope was sealed for another task."""


class WrongIdentity(EnvelopeRefused):
    """The envelope was sealed for another message id or another job."""


class WrongRole(EnvelopeRefused):
    """The role that sealed the envelope may not hand work to this station."""

    status = 403


class EnvelopeExpired(EnvelopeRefused):
    """The envelope's time is over."""


class EnvelopeFromFuture(EnvelopeRefused):
    """The envelope claims to be sealed later than now; check the sender's clock."""


class Replayed(EnvelopeRefused):
    """The envelope has been used already."""

    status = 409


class InvalidMessage(EnvelopeRefused):
    """The payload is not a message that this station takes."""


class IdempotencyConflict(Refusal):
    """The idempotency key was used before with another request."""

    status = 409


class JobError(SwitchtowerError):
    """The job has no result."""


class JobNotFound(JobError):
    """No such job; it may have been forgotten after its retention time."""

    status = 404


class JobFailed(JobError):
    """The job failed."""

    status = 502


class NoCapableModel(JobFailed):
    """No model that is known here may take this request."""

    status = 503


class ContextOverflow(JobFailed):
    """The prompt is longer than the model's context."""

    status = 413


class FormatError(JobFailed):
    """No answer can be kept in this format."""

    status = 422


class AdapterError(JobFailed):
    """The adapter cannot be loaded."""


class AdapterNotFound(AdapterError):
    """There is no such adapter in the adapters' directory."""

    status = 404


class AdapterCorrupt(AdapterError):
    """The adapter's files are damaged or do not belong together; train or install it again."""


class AdapterForeign(AdapterError):
    """The adapter was made for another base model."""


class AdapterUnsupported(AdapterError):
    """The adapter needs arithmetic that the engine does not do."""


class AdapterOversized(AdapterError):
    """The adapter's files are larger than the limit."""

    status = 413


class AdapterEscapes(AdapterError):
    """The adapter's files lead out of the adapters' directory; copy them instead of linking."""

    status = 403


class AdapterUnloaded(AdapterError):
    """The adapter was unloaded from this worker; preload it to serve it again."""

    status = 503


class AdapterBusy(AdapterError):
    """The adapter still answers jobs; it leaves its slot after the last of them."""

    status = 503


class AdapterSlotsPinned(AdapterError):
    """Every slot is pinned to another adapter; unpin one or raise SWITCHTOWER_LOCAL__MAX_CONCURRENT_ADAPTERS."""

    status = 503


class NotANumber(JobFailed):
    """The model's arithmetic overflowed; with an adapter it is the adapter that does this."""


class DeliveryCapExceeded(JobFailed):
    """The step was delivered too often without finishing and went to the dead-letter queue."""


class JobExpired(JobError):
    """The job's deadline passed before it was finished."""

    status = 504


class JobCancelled(JobError):
    """The job was cancelled."""

    status = 409


class JobMoved(JobError):
    """The step is no longer this worker's: it ended, or another worker has taken it over."""

    status = 409


class WorkerStopping(JobError):
    """The worker is stopping and hands its step back."""

    status = 503


class NoModelYet(JobError):
    """No model has announced itself yet; the job waits until one does."""

    status = 503


class ModelUnavailable(JobError):
    """The model does not answer now; the job waits until it does."""

    status = 503

    def __init__(self, message: str | None = None, *, retry_s: float = 0, begun: bool = False) -> None:
        super().__init__(message)
        self.retry_s = retry_s
        """How long the server asks to be left alone."""
        self.begun = begun
        """It broke off with the request in hand, so that the delivery counts: the request may be what breaks it."""


class ModelOutOfMemory(JobError):
    """The model's worker has too little memory for this request, even alone."""

    status = 503


class ResultTimeout(JobError):
    """The job has not finished in the time you gave; it goes on."""

    status = 504


class StreamDiverged(JobError):
    """The generation started again and says something else; in `events`, each `begins_text` voids what came before."""

    status = 409


class RuleError(SwitchtowerError):
    """The rule pack may not be loaded."""


class PolicyError(SwitchtowerError):
    """The permission policies may not be loaded."""


class AuditBroken(SwitchtowerError):
    """The audit trail is not what was written; `switchtower audit verify` names the first bad row."""


class ConfigurationError(SwitchtowerError):
    """The settings do not fit together."""


class BaseModelError(ConfigurationError):
    """The base model cannot be loaded; `switchtower models list` shows what stands in the cache."""


class MissingDependency(ConfigurationError):
    """A package that this command needs is not installed."""


class BrokerUnavailable(SwitchtowerError):
    """The broker does not answer; check SWITCHTOWER_BROKER__URL, or start one with `switchtower up`."""

    status = 503


class BrokerDenied(BrokerUnavailable):
    """The broker knows neither this user nor this password, or does not let the user do this."""
