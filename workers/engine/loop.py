"""The engine's thread: one step after another; between two steps requests come and go."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger

from switchtower.errors import ModelOutOfMemory, NotANumber, WorkerStopping
from workers.engine.batch import Batch
from workers.engine.layout import Part
from workers.engine.meter import Meter
from workers.engine.prefixes import SHORTEST, PrefixStore
from workers.engine.request import End, Request
from workers.engine.runner import Runner, lacks_memory
from workers.engine.sampling import choose

if TYPE_CHECKING:
    from workers.engine.labels import LabelTree

IDLE_SECONDS = 0.02
"""How often those that wait for an adapter or for memory are looked at while nothing is being answered."""

RECOVERY_STEPS = 200
"""After so many steps without a lack of memory, one row more is dared again."""

logger = get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much is done at once: rows, and prompt tokens in one step."""

    rows: int = 16
    prompt_tokens: int = 256
    threads: int | None = None


class Loop:
    """Owns the model; every request that it took gets exactly one `End`, whatever happens."""

    def __init__(self, runner: Runner, prefixes: PrefixStore, ends: frozenset[int], limits: Limits) -> None:
        self._runner, self._prefixes, self._ends, self._limits = runner, prefixes, ends, limits
        self._batch = Batch(runner.cache)
        self._waiting: deque[Request] = deque()
        self._news = threading.Condition()
        self._rows = limits.rows
        self._calm = 0
        self._closing = False
        self.died = False
        """Whether the thread has ended by an error of its own."""
        self.meter = Meter()
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._thread.start()

    # -- for callers, from any thread ---------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request; raises `WorkerStopping` where the engine has ended."""
        with self._news:
            if not self._closing:
                self._waiting.append(request)
                self._news.notify()
                return
        self._close(request, End(error=WorkerStopping()))
        raise WorkerStopping

    def wake(self) -> None:
        """Something that a waiting request needs may be there now."""
        with self._news:
            self._news.notify()

    def close(self) -> None:
        """End every request with `WorkerStopping`, and the thread."""
        self.abandon()
        self._thread.join()

    def abandon(self) -> None:
        """Take nothing more, and tell all callers to hand their jobs back, even when the thread is stuck."""
        with self._news:
            self._closing = True
            self._news.notify()
        for request in (*self._waiting, *self._batch):
            request.end(End(error=WorkerStopping()))

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def rows(self) -> int:
        return len(self._batch)

    # -- the thread ---------------------------------------------------------------------------

    def _main(self) -> None:
        import torch

        if self._limits.threads:
            torch.set_num_threads(self._limits.threads)  # holds for the thread that calls it
        try:
            while not self._closing:
                self._turn()
        except BaseException:
            self.died = True
            logger.critical("the engine's thread has died", exc_info=True)
            raise
        finally:
            self._finish()

    def _finish(self) -> None:
        with self._news:
            self._closing = True
        for request in (*self._batch, *self._waiting):
            self._close(request, End(error=WorkerStopping()))

    def _turn(self) -> None:
        self._reap()
        self._admit()
        if len(self._batch):
            self.meter.begin(len(self._batch))
            self._step()
            self.meter.end()
        else:
            self._pause()

    def _pause(self) -> None:
        with self._news:
            if not self._closing:
                self._news.wait(IDLE_SECONDS if self._waiting else None)

    # -- coming and going ---------------------------------------------------------------------

    def _reap(self) -> None:
        """Let go of whoever was stopped; asked before every step, so that a stop costs at most the running one."""
        for request in self._batch:
            if end := _stopped(request):
                self._leave(request, end)
        for request in tuple(self._waiting):
            if end := _stopped(request):
                self._waiting.remove(request)
                self._close(request, end)

    def _admit(self) -> None:
        for request in tuple(self._waiting):
            if len(self._batch) >= self._rows or not self._batch.room_for(request):
                return
            if self._has_adapter(request):
                self._waiting.remove(request)
                self._place(request)

    def _has_adapter(self, request: Request) -> bool:
        if request.ticket is None or request.lease is not None:
            return True
        try:
            request.lease = request.ticket.poll()
        except Exception as error:  # noqa: BLE001 - whatever kept the adapter from being loaded is its caller's to know
            request.end(End(error=error))
            return True
        return request.lease is not None

    def _place(self, request: Request) -> None:
        if request.ended:
            self._close(request, End())
            return
        if self._added(request):
            self.meter.waited(time.monotonic() - request.asked)
            self._begin_with_prefix(request)

    def _begin_with_prefix(self, request: Request) -> None:
        if request.prefix < SHORTEST:
            return
        kept = self._prefixes.get(_prefix(request))
        if kept is not None:
            self._runner.cache.copy_in(request.place, kept)
            request.kept = request.prefix

    def _leave(self, request: Request, end: End) -> None:
        self._batch.remove(request)
        self._close(request, end)

    def _close(self, request: Request, end: End) -> None:
        if request.lease is not None:
            request.lease.release()
            request.lease = None
        elif request.ticket is not None:
            request.ticket.cancel()
        request.end(end)

    # -- one step -----------------------------------------------------------------------------

    def _step(self) -> None:
        requests, parts, writing = self._batch.plan(self._limits.prompt_tokens)
        try:
            logits = self._runner.run(parts, writing)
        except Exception as error:  # noqa: BLE001 - it may be of one row, and the others must not suffer
            if lacks_memory(error):
                self._shrink()
                return
            logger.warning("a step failed (%s); its rows are tried one by one", type(error).__name__)
            logits = [self._alone(part) for part in parts]
        self._take(requests, parts, logits)
        self._recover()

    def _alone(self, part: Part) -> Any:
        """A part's logits, or the exception that it raises when it runs by itself."""
        try:
            return self._runner.run([part], 0)[0]
        except Exception as error:  # noqa: BLE001 - it is given to the row's own caller
            return error

    def _take(self, requests: Sequence[Request], parts: Sequence[Part], logits: Sequence[Any]) -> None:
        # All of them first: whoever leaves lets another row move, and that one takes along what it has kept.
        for request, part, row in zip(requests, parts, logits, strict=True):
            request.kept += 0 if isinstance(row, Exception) else len(part.ids)
        asking, rows = [], []
        for request, part, row in zip(requests, parts, logits, strict=True):
            if isinstance(row, Exception):
                self._discard(request, row)
            elif request.pending:
                continue
            elif self._finished_reading(request, part, row):
                asking.append(request)
                rows.append(row)
        if asking:
            self._write(asking, rows)

    def _finished_reading(self, request: Request, part: Part, logits: Any) -> bool:
        """Whether the request writes its next token from these logits."""
        self._keep_prefix(request)
        if part.tree:
            self._score(request, part.tree, logits)
            return False
        return self._masked(request, logits)

    def _keep_prefix(self, request: Request) -> None:
        if request.prefix >= SHORTEST and not request.written and _prefix(request) not in self._prefixes:
            self._prefixes.put(_prefix(request), self._runner.cache.copy_out(request.place, request.prefix))

    def _score(self, request: Request, tree: LabelTree, logits: Any) -> None:
        scores: dict[str, float] = {}
        if self._guarded(request, lambda: scores.update(tree.scores(logits[0], logits[1:]))):
            self._leave(request, End("stop", scores=scores))

    def _masked(self, request: Request, logits: Any) -> bool:
        grammar = request.grammar
        return grammar is None or self._guarded(request, lambda: grammar.mask(logits))

    def _guarded(self, request: Request, work: Callable[[], object]) -> bool:
        """Do one row's own work; what it raises ends that row and no other."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is given to the row's own caller
            self._discard(request, error)
            return False
        return True

    def _discard(self, request: Request, error: BaseException) -> None:
        self._batch.wipe(request)
        self._leave(request, End(error=error))

    def _write(self, requests: Sequence[Request], rows: Sequence[Any]) -> None:
        import torch

        for request, token in zip(requests, choose(torch.cat(tuple(rows)), requests), strict=True):
            if token is None:
                self._discard(request, NotANumber(f"the adapter {request.version!r} makes numbers that are none"))
            elif self._accepted(request, token):
                self._append(request, token)

    def _accepted(self, request: Request, token: int) -> bool:
        grammar = request.grammar
        return grammar is None or self._guarded(request, lambda: grammar.accept(token))

    def _append(self, request: Request, token: int) -> None:
        request.ids.append(token)
        request.written += 1
        self.meter.tokens += 1
        request.events.put(token)
        if token in self._ends or (request.grammar is not None and request.grammar.ended):
            self._leave(request, End("stop"))
        elif request.written >= request.most:
            self._leave(request, End("length"))

    # -- too little memory --------------------------------------------------------------------

    def _added(self, request: Request) -> bool:
        """Whether the request has its place now; where there is no memory for one, it waits until others have left."""
        try:
            self._batch.add(request)
        except Exception as error:
            if not lacks_memory(error):
                raise
            return self._squeezed_in(request)
        return True

    def _squeezed_in(self, request: Request) -> bool:
        self.meter.shrunk += 1
        if len(self._batch):
            self._waiting.appendleft(request)
            self._rows, self._calm = len(self._batch), 0
        elif self._runner.cache.rows:  # what earlier rows have left may be in the way
            self._forget()
            return self._added(request)
        else:
            self._close(request, End(error=ModelOutOfMemory()))
        return False

    def _shrink(self) -> None:
        """Begin again with half of the rows, from what they have written. A single one goes elsewhere.

        Nothing is copied, because there is no memory for it.
        """
        self.meter.shrunk += 1
        rows = sorted(self._batch, key=lambda request: request.asked)
        self._rows, self._calm = max(1, len(rows) // 2), 0
        if len(rows) == 1:
            self._leave(rows[0], End(error=ModelOutOfMemory()))
        else:
            self._batch.clear()
            self._waiting.extendleft(reversed(rows))
        self._forget()
        logger.warning("out of memory: %d rows at a time from now on", self._rows)

    def _forget(self) -> None:
        self._prefixes.forget()
        self._runner.forget()

    def _recover(self) -> None:
        self._calm += 1
        if self._rows < self._limits.rows and self._calm >= RECOVERY_STEPS:
            self._rows, self._calm = self._rows + 1, 0


def _prefix(request: Request) -> tuple[str, tuple[int, ...]]:
    return request.version, tuple(request.ids[: request.prefix])


def _stopped(request: Request) -> End | None:
    """Why a request is not to go on, if so."""
    if request.left or request.ended:
        return End("left")
    try:
        reason = request.stop()
    except Exception as error:  # noqa: BLE001 - lockdown, expiry, cancel: its caller raises it again
        return End(error=error)
    return End(reason) if reason else None
