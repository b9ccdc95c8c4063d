"""The local engine: many requests at once on one quantised base model, each with its own adapter.

Covered: continuous batching, adapters mixed in a batch, streaming, stop strings, seeds, grammars, closed labels,
a halt within one step, too little memory. Not covered: paging; the longest row's buffer is every row's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from switchtower.errors import ContextOverflow, ModelOutOfMemory
from switchtower.models import Sampling
from switchtower.settings import Local
from workers.adapters.manager import AdapterManager
from workers.engine.bank import SlotBank
from workers.engine.cache import RowCache, Shape
from workers.engine.chat import prompt_ids, shared_prefix
from workers.engine.decoding import Transcript
from workers.engine.loop import Limits, Loop
from workers.engine.prefixes import PrefixStore
from workers.engine.request import End, Request, Stop
from workers.engine.runner import Runner
from workers.providers.base import Generation

if TYPE_CHECKING:
    from switchtower.models import OutputFormat
    from workers.adapters.shelf import AdapterShelf
    from workers.engine.grammar import Grammars, RowGrammar
    from workers.engine.labels import LabelTree
    from workers.models.base import BaseModel

MIB = 2**20

Message = dict[str, str]


class Engine:
    """Answers chats with the base model or one of its adapters; safe to call from any thread."""

    def __init__(self, base: BaseModel, shelf: AdapterShelf, local: Local | None = None) -> None:
        local = local or Local()
        self._base = base
        self._room = min(local.context_size, base.context_tokens)
        linears = base.linears()
        self.bank = SlotBank(base.model, linears, local.max_concurrent_adapters, local.max_adapter_rank)
        self.cache = RowCache(Shape.of(base.model), local.kv_cache_mb * MIB)
        self.prefixes = PrefixStore(local.prefix_cache_mb * MIB)
        limits = Limits(local.max_batch, local.prefill_chunk, local.threads or base.threads)
        self.loop = Loop(Runner(base, self.bank, self.cache), self.prefixes, _ends(base), limits)
        self.adapters = AdapterManager(
            shelf,
            self.bank,
            linears,
            host_mb=local.host_adapter_mb,
            pinned=local.pinned_adapters,
            age_s=local.adapter_age_s,
            residency_s=local.adapter_residency_s,
            wake=self.loop.wake,
        )
        self._shared = lru_cache(maxsize=256)(lambda system: shared_prefix(base.tokenizer, system))

    def generate(
        self,
        messages: Sequence[Message],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Stop,
        output: OutputFormat | None = None,
    ) -> Generation:
        """Answer the messages, handing out text as it is decoded, until done or until `stop` gives a reason.

        `stop` is asked in the engine's thread before every step; what it raises is raised here.
        """
        request = self._request(messages, sampling, stop, output)
        prompt_tokens = len(request.ids)
        request.ticket = self.adapters.want(adapter) if adapter else None
        transcript = Transcript(self._base.tokenizer, sampling.stop, on_token)
        try:
            self.loop.submit(request)
            end = _followed(request, transcript)
        finally:
            request.left = True
        return _generation(end, transcript, prompt_tokens)

    def health_check(self) -> None:
        """Answer one token; raises whatever kept the engine from it."""
        self.generate([{"role": "user", "content": "?"}], None, Sampling(max_tokens=1), lambda _: None, lambda: None)

    def close(self) -> None:
        """Hand every request back and let go of the model."""
        self.loop.close()
        self.adapters.close()
        self.bank.detach()
        self.prefixes.forget()
        self.cache.drop()

    def _request(
        self, messages: Sequence[Message], sampling: Sampling, stop: Stop, output: OutputFormat | None
    ) -> Request:
        ids = prompt_ids(self._base.tokenizer, messages)
        grammar, tree = self._formats(output)
        room = self._room - len(ids) - (len(tree.ids) if tree else 0)
        if room < 1:
            raise ContextOverflow(f"the prompt has {len(ids)} tokens, the model takes {self._room - 1}; shorten it")
        most = 0 if tree else min(sampling.max_tokens, room)
        request = Request(ids, sampling, most, stop, self._prefix(messages, ids), grammar=grammar, tree=tree)
        if not self.cache.fits(1, request.needs):
            raise ModelOutOfMemory(f"{request.needs} tokens do not fit local.kv_cache_mb, even alone")
        return request

    def _formats(self, output: OutputFormat | None) -> tuple[RowGrammar | None, LabelTree | None]:
        """What keeps an answer in form; made in the caller's thread, because compiling a schema takes its time."""
        if output is None:
            return None, None
        if output.kind == "labels":
            from workers.engine.labels import LabelTree

            return None, LabelTree.build(self._base.tokenizer, output.labels)
        from workers.engine.grammar import RowGrammar

        return RowGrammar(self._grammars.compile(output.json_schema)), None

    @cached_property
    def _grammars(self) -> Grammars:
        from workers.engine.grammar import Grammars

        return Grammars(self._base.tokenizer, self._base.model.config.get_text_config().vocab_size)

    def _prefix(self, messages: Sequence[Message], ids: list[int]) -> int:
        """How many of the prompt's tokens are the adapter's own; what users say is never shared."""
        system = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
        shared = self._shared(system)
        return len(shared) if ids[: len(shared)] == shared and len(ids) > len(shared) else 0


def _followed(request: Request, transcript: Transcript) -> End:
    """Read the answer as it comes; a stop string ends it from this side."""
    end = None
    while end is None and not transcript.stopped:
        tokens, end = request.news()
        transcript.put(*tokens)
    return end or End("stop")


def _generation(end: End, transcript: Transcript, prompt_tokens: int) -> Generation:
    if end.error is not None:
        raise end.error
    if end.scores is not None:
        best = max(end.scores, key=lambda label: end.scores[label])  # type: ignore[index]
        return Generation(best, prompt_tokens, 0, "stop", end.scores)
    if end.reason in ("stop", "length"):
        transcript.finish()
    reason = "stop" if transcript.stopped else end.reason
    return Generation(transcript.text, prompt_tokens, transcript.tokens, reason)


def _ends(base: BaseModel) -> frozenset[int]:
    """The tokens that end an answer."""
    found: Any = base.model.generation_config.eos_token_id
    listed = found if isinstance(found, list) else [found]
    return frozenset(token for token in (*listed, base.tokenizer.eos_token_id) if token is not None)
