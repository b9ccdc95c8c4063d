"""What a model writes goes out only after it was judged, and with the user's own values in it."""

from __future__ import annotations

from functools import lru_cache

from celery.utils.log import get_task_logger

from security.guardrails import Guardrail
from security.redaction.rehydration import Rehydration
from security.window import Onset, Window
from switchtower.messages import RoutingDecision
from switchtower.models import Surface
from tasks.screen import enforce
from tasks.work import Work

logger = get_task_logger(__name__)


class Release:
    """Lets an answer out to the job's stream, piece by piece; see `security.window` for what it guarantees.

    Raises what ends the step: a refusal, a lockdown, a cancelled job. What still waits then never gets out.
    """

    def __init__(self, work: Work[RoutingDecision], guardrail: Guardrail, values: Rehydration | None = None) -> None:
        self._work = work
        self._guardrail = guardrail
        self._values = values
        hold = work.runtime.settings.security.release_hold_chars
        self._window = Window(self._judge, onset_of(guardrail), hold)

    def __call__(self, text: str) -> None:
        """Take the next piece of the answer."""
        self._work.check()
        self._emit(self._window.feed(text))

    def close(self) -> None:
        """The answer is complete: judge what has waited, and let it out."""
        self._work.check()
        self._emit(self._window.close(), last=True)

    def _judge(self, text: str) -> None:
        verdict = self._guardrail.judge(text, Surface.OUTPUT)
        if not verdict.passed:  # what passes here is judged as a whole, and audited, by review
            enforce(self._work, verdict, text)

    def _emit(self, text: str, *, last: bool = False) -> None:
        if self._values:
            text = self._values.feed(text) + (self._values.flush() if last else "")
        if text:
            self._work.emit("token", text=text)


def onset_of(guardrail: Guardrail) -> Onset:
    """Where a match of the guardrail's rules for answers may have begun; made once for each pack."""
    return _onset(tuple((rule.name, rule.spelled) for rule in guardrail.pack.on(Surface.OUTPUT)))


@lru_cache(maxsize=2)
def _onset(rules: tuple[tuple[str, str], ...]) -> Onset:
    made = Onset(pattern for _, pattern in rules)
    if not made.known:
        names = ", ".join(name for name, pattern in rules if not Onset([pattern]).known)
        logger.warning("every answer waits release_hold_chars: the beginnings of these rules are not known: %s", names)
    return made
