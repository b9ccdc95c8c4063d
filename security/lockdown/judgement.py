"""What a controller makes of what it sees: a pure function, so that every doubt can be shown to lock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from security.lockdown.memory import Memory
from switchtower.envelope import KeyRing
from switchtower.errors import EnvelopeExpired, EnvelopeRefused
from switchtower.lease import Lease, Standing, epoch_of, locked_by, read_lease


class Finding(StrEnum):
    """What stands on the broker."""

    OPEN = "open"
    """A good lease of the present epoch: renew it."""
    LAPSED = "lapsed"
    """No lease, in an epoch that is known to be open: renew it all the same."""
    LOCKED = "locked"
    """Somebody has raised the lockdown: leave it to the operators."""
    DOUBTFUL = "doubtful"
    """Something that only an operator can have meant, or an attacker: raise."""


@dataclass(frozen=True)
class Sight:
    """One look at the broker."""

    raw: str
    epoch: str
    """Both as they stand there, so that nothing is written over what was not seen."""
    lease: Lease | None = None
    lapsed: bool = False
    raised: Standing | None = None

    @property
    def number(self) -> int | None:
        return epoch_of(self.epoch)


def see(raw: str | None, epoch: str | None, ring: KeyRing) -> Sight:
    """Sort what was read: a good lease, one that is over, a raise, or none of them."""
    sight = Sight(raw or "", epoch or "")
    if not raw:
        return sight
    try:
        return Sight(raw, sight.epoch, lease=read_lease(raw, ring))
    except EnvelopeExpired:
        return Sight(raw, sight.epoch, lapsed=True)
    except EnvelopeRefused:
        return Sight(raw, sight.epoch, raised=locked_by(raw, sight.number or 0))


@dataclass(frozen=True)
class Judgement:
    """The finding, and in doubt the reason to raise."""

    finding: Finding
    reason: str = ""


def judge(sight: Sight, memory: Memory, alive: bool) -> Judgement:
    """What to do about a sight; `alive` says that the lease seen last cannot have run out yet."""
    if doubt := _epoch_doubt(sight, memory) or _flag_doubt(sight, memory, alive):
        return Judgement(Finding.DOUBTFUL, doubt)
    if sight.lease:
        return Judgement(Finding.OPEN)
    return Judgement(Finding.LOCKED if sight.raised else Finding.LAPSED)


def _epoch_doubt(sight: Sight, memory: Memory) -> str:
    epoch = sight.number
    if epoch is None and not memory.epoch and not sight.raw:
        return "this line has never been opened: an operator must release it once"
    if epoch is None:
        return "the broker has lost its epoch"
    if epoch < memory.epoch:
        return f"the broker's epoch {epoch} is older than {memory.epoch}: its data was lost or put back"
    return ""


def _flag_doubt(sight: Sight, memory: Memory, alive: bool) -> str:
    if sight.lease:
        return _lease_doubt(sight.lease, sight.number or 0, memory)
    opened = memory.open and memory.epoch == sight.number
    if sight.raised:
        return f"{sight.raised.reason} (written past the raise, by {sight.raised.by})" if opened else ""
    if sight.raw and not sight.lapsed:
        return "what stands in the flag is neither a lease nor a raise"
    if not opened:
        return "the flag is missing, in an epoch that this controller has not seen open"
    return "the flag was deleted" if alive and not sight.raw else ""


def _lease_doubt(lease: Lease, epoch: int, memory: Memory) -> str:
    if lease.epoch != epoch:
        return "a lease of another epoch stands in the flag"
    if not memory.open and memory.epoch == epoch:
        return "a lease stands in the flag, in an epoch that is locked"
    return ""
