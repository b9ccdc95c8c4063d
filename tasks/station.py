"""What all stations do alike: gate and claim before the body; seal, store and hand on after it."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from celery import Celery, Signature, Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as BrokerLost
from redis.exceptions import TimeoutError as BrokerSilent

from switchtower.envelope import Role, parse, unpack
from switchtower.errors import (
    DeliveryCapExceeded,
    EnvelopeRefused,
    GuardrailRefused,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobMoved,
    LockdownActive,
    ModelOutOfMemory,
    ModelUnavailable,
    NoCapableModel,
    NoModelYet,
    Replayed,
    SwitchtowerError,
    WorkerStopping,
)
from switchtower.jobs import State
from switchtower.ledger import Claim
from switchtower.messages import Envelope, Message, RoutingDecision, now_ms
from switchtower.queues import SEALED
from tasks.admission import report
from tasks.line import GENERATORS, LINE, Station, identity
from tasks.work import Work
from workers.keeper import Limit
from workers.runtime import Runtime

logger = get_task_logger(__name__)

Body = Callable[[Work[Any]], Message]

_STOPS = (LockdownActive, WorkerStopping)
_ENDINGS: tuple[tuple[type[SwitchtowerError], State], ...] = (
    (GuardrailRefused, State.REFUSED),
    (JobExpired, State.EXPIRED),
    (JobFailed, State.FAILED),
)


class StationTask(Task):  # type: ignore[misc]
    """A Celery task that is one station of the line."""

    abstract = True
    Request = "tasks.admission:SealedRequest"
    Strategy = "tasks.admission:strategy"
    throws = (SwitchtowerError,)
    store_errors_even_if_ignored = True
    resultrepr_maxsize = 1

    station: Station
    runtime: Runtime
    body: Body

    # -- before the body ----------------------------------------------------------------------

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """The gate: nothing starts while the line is locked, twice, too late or too often."""
        envelope = parse(args[0], self.runtime.settings.security.max_envelope_bytes)
        holder = f"{self.request.hostname}/{secrets.token_hex(4)}"
        try:
            message = unpack(envelope, self.station.takes)
            claim = self._claim(envelope, holder, message)
        except EnvelopeRefused as refusal:
            refusal.job = envelope.job
            report(self.runtime, self.name, refusal)
            # The sender's own mistake, not a stranger's: its job must not wait for the deadline.
            if self.runtime.ledger.expects(envelope) and not isinstance(refusal, Replayed):
                self._end(envelope.job, "", refusal)
            raise Ignore(type(refusal).__name__) from None
        except (BrokerLost, BrokerSilent) as error:
            raise Reject(type(error).__name__, requeue=True) from None
        avoid = frozenset(claim.avoid.split())
        self.request.work = Work(message, envelope, self.station, holder, self.runtime, avoid=avoid)

    def _claim(self, envelope: Envelope, holder: str, message: Message) -> Claim:
        fresh = message if self.station.first else None
        claim = self.runtime.claim(envelope, holder, fresh, self.request.canvas)
        match claim.answer:
            case "ok":
                return claim
            case "halted":
                raise Reject("locked down", requeue=True)
            case "expired":
                self._end(envelope.job, "", JobExpired())
            case "capped":
                self._end(envelope.job, "", DeliveryCapExceeded())
            case "over":
                self._leave(claim.detail)
            case "busy":
                raise Ignore("another worker has this step")
        raise Replayed

    # -- the body, and after it ---------------------------------------------------------------

    def run(self, envelope: dict[str, Any]) -> Any:
        """Run the station's body on the claimed work and hand its outcome on."""
        work: Work[Any] = self.request.work
        try:
            return self._done(work)
        except (*_STOPS, SoftTimeLimitExceeded, BrokerLost, BrokerSilent, OperationalError) as stop:
            self._hand_back(work, type(stop).__name__)
        except NoModelYet as wait:
            self._put_off(work, wait)
        except ModelUnavailable as wait:
            self._put_off(work, wait, wait.retry_s, counts=wait.begun)
        except JobMoved:
            self._leave(self.runtime.ledger.record(work.job).state)
        except SwitchtowerError as error:
            self._end(work.job, work.holder, error, work.notes)
        except (Ignore, Reject):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the job must reach a terminal state
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("%s in %s of job %s\n%s", type(error).__name__, self.name, work.job, where)
            self._end(work.job, work.holder, JobFailed(f"{type(error).__name__} in {self.name}"), work.notes)

    def _done(self, work: Work[Any]) -> Any:
        try:
            with self.runtime.keeper.keeping(work.job, work.holder, self._limit(work)) as work.lost:
                outcome = self.body(work)
        except ModelOutOfMemory as lack:
            if not isinstance(work.message, RoutingDecision):
                raise
            return self._route_again(work, lack)
        return self._hand_on(work, outcome)

    def _limit(self, work: Work[Any]) -> Limit | None:
        """A guardrail that hangs refuses; other stations have until the deadline."""
        if self.station.seals_as is not Role.GUARDRAIL:
            return None
        seconds = self.runtime.settings.security.judge_s
        slow = GuardrailRefused(f"the guardrail did not judge within {seconds:g} s, so it refuses")
        finish = partial(self.runtime.ledger.finish, work.job, State.REFUSED, work.holder)
        return Limit(seconds, partial(finish, error=type(slow).__name__, message=str(slow)))

    def _hand_on(self, work: Work[Any], outcome: Message) -> Any:
        if self.station.last:
            return self._deliver(work, outcome)
        following = self._following(outcome)
        sealed = work.seal(outcome, following, identity(work.job, following))
        self.runtime.ledger.advance(work.job, work.holder, sealed, work.notes, **work.facts)
        if isinstance(outcome, RoutingDecision):
            self._give_place(self._step(sealed))
            return None
        return sealed.model_dump()

    def _give_place(self, following: Signature) -> None:
        """Celery's `replace`, without the exception that it ends in.

        Celery turns that exception into a traceback twice, which takes longer than the rest of the station.
        """
        try:
            self.replace(following)
        except Ignore:
            # What came after this task comes after its replacement now.
            self.request.update(chain=None, callbacks=None, errbacks=None, chord=None, group=None)

    def _route_again(self, work: Work[RoutingDecision], lack: ModelOutOfMemory) -> None:
        """Give the request back to the router as the guardrail sealed it; it avoids this model from now on.

        A job avoids each model once, so that it comes to an end when none is left.
        """
        proof, name = work.message.screened, work.message.card.name
        if name in work.avoid:
            raise NoCapableModel(f"{name} was to be avoided and was chosen again: {lack}")
        logger.warning("job %s goes back to the router: %s has too little memory (%s)", work.job, name, lack)
        avoid = " ".join(sorted({*work.avoid, name}))
        self.runtime.ledger.advance(work.job, work.holder, proof, work.notes, avoid=avoid)
        self._give_place(self._step(proof))

    def _step(self, sealed: Envelope) -> Signature:
        return self.app.signature(sealed.wire, args=[sealed.model_dump()], argsrepr=SEALED, kwargsrepr="{}")

    def _following(self, outcome: Message) -> str:
        if isinstance(outcome, RoutingDecision):
            return GENERATORS[outcome.card.provider]
        return self.station.next

    def _deliver(self, work: Work[Any], result: Message) -> Any:
        sealed = work.seal(result, self.station.next, identity(work.job, self.station.next))
        finish = self.runtime.ledger.finish
        ended = finish(work.job, State.DONE, work.holder, result=sealed.model_dump_json(), notes=work.notes)
        if not ended:
            raise JobMoved
        return sealed.model_dump()

    def _hand_back(self, work: Work[Any], reason: str) -> NoReturn:
        self._let_go(work, reason)
        raise Reject(reason, requeue=True)

    def _put_off(
        self, work: Work[Any], wait: SwitchtowerError, retry_s: float = 0, *, counts: bool = False
    ) -> NoReturn:
        """Let upkeep publish the step again: after the grace time, or later where a server asks for it."""
        self._let_go(work, type(wait).__name__, retry_s, counts=counts)
        raise Ignore(str(wait)) from None

    def _let_go(self, work: Work[Any], reason: str, retry_s: float = 0, *, counts: bool = False) -> None:
        ledger = self.runtime.ledger
        try:
            ledger.release(work.job, work.holder, reason, counts=counts)
            if retry_s > ledger.line.grace_s:
                ledger.look_again(work.job, min(retry_s, (work.envelope.exp - now_ms()) / 1000))
        except JobMoved as moved:
            raise Ignore(str(moved)) from None
        except (BrokerLost, BrokerSilent):
            logger.warning("job %s could not be handed back; its lease will run out", work.job)

    @staticmethod
    def _leave(state: str) -> NoReturn:
        """Stop working on a job that ended or that somebody else has; a cancelled one fails for Celery too."""
        if state == State.CANCELLED:
            raise JobCancelled
        raise Ignore(f"the job is {state}")

    def _end(self, job: str, holder: str, error: SwitchtowerError, notes: Sequence[str] = ()) -> NoReturn:
        state = next((state for kind, state in _ENDINGS if isinstance(error, kind)), State.FAILED)
        name, dead = type(error).__name__, state is State.FAILED
        self.runtime.ledger.finish(job, state, holder, error=name, message=str(error), dead=dead, notes=notes)
        raise error


def install(app: Celery, runtime: Runtime, bodies: dict[str, Body]) -> None:
    """Register a task for each station that has a body here."""
    for wire, body in bodies.items():
        fields = {"station": LINE[wire], "runtime": runtime, "body": staticmethod(body), "name": wire}
        fields["ignore_result"] = not LINE[wire].last
        fields["default_retry_delay"] = int(runtime.settings.line.lease_s) + 1
        fields["max_retries"] = runtime.settings.line.max_deliveries
        app.register_task(type(f"{body.__name__}_station", (StationTask,), fields)())
