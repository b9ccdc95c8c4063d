"""The line at a glance: lockdown, jobs, queues, models, refusals."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from switchtower.client import Client
from switchtower.jobs import DEAD, DUE, FINISHED, REFUSALS, Event
from switchtower.lease import standing
from switchtower.queues import QUEUES
from switchtower.registry import Vitals, look


def overview(client: Client) -> Group:
    """Tables of what waits, what serves, and what was refused."""
    redis = client.ledger.redis
    counts = Table("count", "what", title="jobs")
    counts.add_row(str(redis.zcard(DUE)), "not finished")
    counts.add_row(str(redis.xlen(FINISHED)), "finished (of late)")
    counts.add_row(str(redis.xlen(DEAD)), "dead letters")
    queues = Table("queue", "waiting", title="queues")
    for queue in QUEUES:
        queues.add_row(queue, str(redis.llen(queue)))
    refused = Table("error", "messages", title="refused envelopes")
    for name, count in sorted(redis.hgetall(REFUSALS).items()):
        refused.add_row(str(name), str(count))
    return Group(lockdown_line(client), counts, queues, model_table(client), worker_table(client), refused)


def lockdown_line(client: Client) -> Text:
    """Whether the line runs, or is read-only and why."""
    found = standing(client.ledger.redis, client.ring)
    if not found.locked:
        return Text("open", style="green")
    since = f" since {_clock(found.since)}" if found.since else ""
    waits = "are refused" if client.settings.lockdown.submissions == "refuse" else "wait in their queues"
    said = f"read-only: locked down{since} by {found.by}: {found.reason}; status, results and search go on, new jobs "
    return Text(said + waits, style="red")


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")


def dead_letters(client: Client, count: int) -> Table:
    """The latest jobs that failed for good, and why."""
    table = Table("when", "job", "error", "what to know", title="dead letters")
    for event in Event.read_all([("", client.ledger.redis.xrevrange(DEAD, count=count))]):
        table.add_row(_clock(event.at), *(str(event.data.get(name, "")) for name in ("job", "error", "message")))
    return table


def model_table(client: Client) -> Table:
    """Every announced model, whether its worker is alive, and whether it is loaded there."""
    table = Table("model", "provider", "capabilities", "worker", "live", "loaded", "busy", title="models")
    for one in look(client.ledger.redis).models:
        live, loaded = ("yes" if fact else "no" for fact in (one.alive(_heartbeat(client)), one.loaded))
        able = ", ".join(sorted(one.card.capabilities))
        table.add_row(one.card.name, one.card.provider, able, one.worker, live, loaded, str(one.busy))
    return table


def worker_table(client: Client) -> Table:
    """How each worker that serves models is; a stroke stands for what it does not know."""
    table = Table("worker", "model", "state", title="workers")
    for name in ("rows", "waiting", "tokens/s", "wait", "step", "memory", "KV cache", "GPU"):
        table.add_column(name, justify="right")
    table.add_column("adapters in slots (rows)")
    for one in look(client.ledger.redis).workers:
        table.add_row(one.worker, one.model, _state(one, one.alive(_heartbeat(client))), *_doing(one), _slots(one))
    return table


def _heartbeat(client: Client) -> float:
    return client.settings.local.heartbeat_s


def _state(one: Vitals, alive: bool) -> str:
    if not alive:
        return "dead"
    return f"{one.state}: {one.trouble}" if one.trouble else one.state


def _doing(one: Vitals) -> list[str]:
    rows = _said(one.rows) if one.max_batch is None else f"{_said(one.rows)}/{one.max_batch}"
    times = [_said(seconds and seconds * 1000, " ms") for seconds in (one.queue_wait_s, one.step_s)]
    memory = [_bytes(size) for size in (one.rss_bytes, one.kv_cache_bytes)]
    return [rows, _said(one.waiting), _said(one.tokens_per_s), *times, *memory, _gpu(one)]


def _gpu(one: Vitals) -> str:
    if one.gpu_bytes is None:
        return "-"
    return f"{_bytes(one.gpu_bytes)} of {_bytes(one.gpu_total_bytes)}, {_said(one.gpu_celsius, ' °C')}"


def _slots(one: Vitals) -> str:
    return ", ".join(f"{slot.name}{'*' if slot.pinned else ''} ({slot.leases})" for slot in one.adapters) or "-"


def _said(number: float | None, unit: str = "") -> str:
    return "-" if number is None else f"{number:.0f}{unit}"


def _bytes(size: int | None) -> str:
    return "-" if size is None else decimal(size)
