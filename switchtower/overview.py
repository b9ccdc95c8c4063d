"""The line at a glance: lockdown, jobs, queues, models, refusals."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Group
from rich.table import Table
from rich.text import Text

from switchtower.client import Client
from switchtower.jobs import DEAD, DUE, FINISHED, REFUSALS, Event
from switchtower.lease import standing
from switchtower.queues import QUEUES
from switchtower.registry import announced


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
    return Group(lockdown_line(client), counts, queues, model_table(client), refused)


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
    """Every announced model and whether its worker is alive."""
    table = Table("model", "provider", "capabilities", "worker", "live", "busy", title="models")
    for one in announced(client.ledger.redis):
        live = "yes" if one.alive(client.settings.local.heartbeat_s) else "no"
        able = ", ".join(sorted(one.card.capabilities))
        table.add_row(one.card.name, one.card.provider, able, one.worker, live, str(one.busy))
    return table
