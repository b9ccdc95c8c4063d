"""What a request needs: the capability it names, or the one that its words point to."""

from __future__ import annotations

from switchtower.messages import UserRequest
from switchtower.models import Capability

_CUES: tuple[tuple[Capability, tuple[str, ...]], ...] = (
    (Capability.INTENT, ("what does this user want", "classify this request", "which intent", "intent of")),
    (Capability.WORKFLOW, ("workflow", "automate", "every time", "whenever", "steps to", "pipeline")),
    (Capability.KNOWLEDGE, ("organize", "organise", "file this note", "tag this", "which folder", "categorize")),
    (Capability.CONTENT, ("announce", "announcement", "headline", "newsletter", "blog post", "write a post")),
    (Capability.CLARIFICATION, ("is this clear", "ambiguous", "is anything missing", "clarify")),
    (Capability.SECURITY, ("vulnerability", "threat model", "audit this code")),
    (Capability.CODE, ("function", "python", "sql query", "refactor", "unit test")),
)


def capability(request: UserRequest) -> tuple[Capability, str]:
    """The capability that the request needs, and the reason for it."""
    if request.capability is not None:
        return request.capability, "asked for"
    text = request.prompt.casefold()
    for wanted, cues in _CUES:
        for cue in cues:
            if cue in text:
                return wanted, f"the words {cue!r}"
    return Capability.GENERAL, "no special words"
