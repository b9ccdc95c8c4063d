"""What the policies say of a case, and in which words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """One policy: what it is called, what it does, why, where it stands, and its text."""

    id: str
    effect: str
    explanation: str
    place: str
    text: str


@dataclass(frozen=True)
class Ruling:
    """What the policies say, and which of them decided it; none where nothing permits or they failed."""

    allowed: bool
    policies: tuple[Policy, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(policy.id for policy in self.policies)

    @property
    def reason(self) -> str:
        """One sentence that names the first policy that decided."""
        if self.errors:
            return "the policies could not be evaluated"
        if not self.policies:
            return "no policy permits it"
        first = self.policies[0]
        return f"{'permitted' if self.allowed else 'forbidden'} by {first.id}: {first.explanation}"
