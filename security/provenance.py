"""Where the text that a model has read came from, and what may not be done on its word.

Text that nobody in the conversation wrote (a retrieved document, what a tool returned) can carry instructions of a
stranger. A context that has held any of it is *tainted* for good, and so is everything a model writes in it. The
mark is set here, by code, from what was put into the context; what a model says of itself is never asked
(Willison, "The Dual LLM pattern", 2023; Debenedetti et al., "Defeating Prompt Injections by Design", 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import ValidationError

from switchtower.errors import PermissionRefused
from switchtower.messages import Message, PermissionRequest, UserRequest
from switchtower.models import Frozen


class Origin(StrEnum):
    """Who wrote a text."""

    USER = "user"
    SYSTEM = "system"
    MODEL = "model"
    DOCUMENT = "document"
    TOOL = "tool"
    DELEGATED = "delegated"


FOREIGN = frozenset({Origin.DOCUMENT, Origin.TOOL, Origin.DELEGATED})
"""The origins that taint, unless more is known of them: see `Provenance.delegated`."""

_SAID = frozenset({"action", "resource", "explanation"})
"""What a model may say in a call; everything else in the request is set by us."""


class Provenance(Frozen):
    """What a context is made of. It only ever grows, and taint never leaves it."""

    origins: frozenset[Origin] = frozenset()
    tainted: bool = False

    @classmethod
    def of(cls, request: UserRequest, inherited: Provenance | None = None, vouched: bool = False) -> Self:
        """The context that a request starts with.

        `inherited` is the delegating job's; a child job whose parent's is not known counts as tainted. So do earlier
        answers in the history, unless the caller kept the conversation and vouches that it was never tainted:
        otherwise a document could speak in one turn and be obeyed in the next.
        """
        found = cls(origins=frozenset({Origin.USER}))
        if request.parent is not None or inherited is not None:
            found = found.delegated(inherited or cls(tainted=True))
        if any(turn.role == "assistant" for turn in request.history):
            found = found._joined(Origin.MODEL, tainted=not vouched)
        return found

    def heard(self, origin: Origin) -> Self:
        """This context after text of that origin was put into it; what a model says in it changes no taint."""
        return self._joined(origin, tainted=origin in FOREIGN)

    def delegated(self, source: Provenance) -> Self:
        """This context after text came in from another one, with that one's taint."""
        return self._joined(Origin.DELEGATED, tainted=source.tainted)

    def _joined(self, origin: Origin, tainted: bool) -> Self:
        return type(self)(origins=self.origins | {origin}, tainted=self.tainted or tainted)

    def request(self, message: Message, model: str, call: Mapping[str, Any]) -> PermissionRequest:
        """The permission request of a model's call, marked with this context's taint.

        The call may hold `action`, `resource` and `explanation`. Raises `PermissionRefused` where it holds anything
        else, such as a statement about its own taint, or does not fit.
        """
        if unknown := call.keys() - _SAID:
            raise PermissionRefused(
                f"a call may not say {len(unknown)} of its fields; it has {', '.join(sorted(_SAID))}"
            )
        try:
            return PermissionRequest.model_validate(
                {**message.heirloom(), "model": model, **call, "tainted": self.tainted}, strict=True
            )
        except ValidationError as error:
            wrong = {str(detail["loc"][0]) for detail in error.errors(include_input=False, include_url=False)}
            raise PermissionRefused(f"the call does not fit: {', '.join(sorted(wrong))}") from None
