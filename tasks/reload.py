"""Rules that change while a worker runs: read again when their files do, in every process that judges.

Files are looked at, not watched: that works on every file system and mount. What changed is read once it has stood
still from one look to the next, so that no half-written file is taken for a broken one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery.signals import worker_process_init, worker_ready
from celery.utils.log import get_logger
from redis.exceptions import RedisError

from security.audit.events import AuditEvent, put
from security.guardrails import Guardrail
from security.pack_files import stamps
from switchtower.errors import RuleError
from switchtower.jobs import ALERTS
from switchtower.messages import SecurityAlert, new_identity
from workers.runtime import Runtime

logger = get_logger(__name__)

Report = Callable[[RuleError], None]


class RuleWatch:
    """Keeps a guardrail's rules as their files say; a broken pack changes nothing and is reported once."""

    def __init__(self, guardrail: Guardrail, every_s: float, report: Report) -> None:
        self._guardrail = guardrail
        self._every_s = every_s
        self._report = report
        self._tried = self._last = guardrail.pack.stamps

    def start(self) -> None:
        """Look again and again, in a thread of this process."""
        threading.Thread(target=self._run, name="rules", daemon=True).start()

    def look(self) -> None:
        """Read the rules again if their files have changed and stand still."""
        now = stamps(self._guardrail.pack.paths)
        if now == self._last != self._tried:
            self._tried = now
            self._reload()
        self._last = now

    def _reload(self) -> None:
        try:
            pack = self._guardrail.reload()
        except RuleError as error:
            logger.error("the rules have changed and are refused; the old ones stay in force: %s", error)
            self._report(error)
        else:
            logger.warning("the rules have changed; pack %s is in force", pack.hash)

    def _run(self) -> None:
        while True:
            time.sleep(self._every_s)
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next change must still be seen
                logger.error("the rules could not be looked at: %s", type(error).__name__)


def follow(guardrail: Guardrail, runtime: Runtime) -> Guardrail:
    """The guardrail, which will read its rules again whenever their files change while this worker runs."""
    every_s = runtime.settings.security.reload_s

    def in_main_process(sender: Any, **_: Any) -> None:
        RuleWatch(guardrail, every_s, partial(report, runtime, sender.hostname)).start()

    def in_child(**_: Any) -> None:
        RuleWatch(guardrail, every_s, lambda error: None).start()  # the main process has the same files, and tells

    worker_ready.connect(in_main_process, weak=False)
    worker_process_init.connect(in_child, weak=False)
    return guardrail


def report(runtime: Runtime, worker: str, error: RuleError) -> None:
    """Alert, and tell the audit, that a worker goes on with its old rules."""
    source, said = f"rules/{worker.replace('@', '.')}"[:128], str(error)[:500]
    alert = SecurityAlert(job=new_identity(), source=source, summary=f"rules refused, the old ones stay: {said}"[:500])
    event = AuditEvent(job=alert.job, topic="refusal", outcome="RuleError", actor=source, facts={"reason": said})
    try:
        runtime.ledger.redis.xadd(ALERTS, {"e": alert.model_dump_json()}, maxlen=10_000)
        put(runtime.ledger.redis, event, runtime.signer)
    except RedisError as lost:
        logger.error("the refused rules could not be reported: %s", type(lost).__name__)
