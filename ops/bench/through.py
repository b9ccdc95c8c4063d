"""The engine at the end of the whole line: the same requests, submitted as jobs, against the engine called directly."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rig import quiet_worker, rig
from traffic import SAID, interleaved, run

from switchtower.client import Client
from switchtower.messages import UserRequest
from switchtower.models import Sampling

if TYPE_CHECKING:
    from engine import Bench

AIM = 0.9
TIMEOUT_S = 600


def line_rows(bench: Bench) -> None:
    """Screen, route, generate, review, with seals, ledger and a token's events; a worker process of its own."""
    jobs = interleaved(bench.shelf.names()[: bench.ours.bank.slots], 6 * bench.at_once)
    with _line(bench) as client:
        _submitted(client, jobs[: bench.at_once], 1)
        bench.compare(
            f"through the whole line, {bench.at_once} at once, against the engine alone",
            AIM,
            lambda: _submitted(client, jobs, bench.tokens),
            lambda: run(bench.ours, jobs, bench.tokens, bench.at_once).rate,
        )


def _submitted(client: Client, adapters: Sequence[str | None], tokens: int) -> float:
    """Tokens a second, from the first submission to the last result."""
    started = time.monotonic()
    asked = (
        UserRequest(prompt=SAID[index % len(SAID)], model=name, sampling=Sampling(max_tokens=tokens))
        for index, name in enumerate(adapters)
    )
    results = [client.result(job, TIMEOUT_S) for job in client.submit_many(asked)]
    return sum(result.usage.completion_tokens for result in results) / (time.monotonic() - started)


@contextmanager
def _line(bench: Bench) -> Iterator[Client]:
    said = {"adapter_directory": bench.shelf.directory, "weights": bench.weights, "threads": bench.threads}
    said |= {"max_batch": bench.at_once, "max_concurrent_adapters": bench.ours.bank.slots}
    os.environ |= {f"SWITCHTOWER_LOCAL__{name.upper()}": str(value) for name, value in said.items()}
    with rig() as made, made.line(gpu=quiet_worker("gpu")), Client(made.settings) as client:
        yield client
