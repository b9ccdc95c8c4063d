"""Closed labels by scoring against writing them: time, accuracy, calibration; and what a step under a schema costs.

One thread, one request at a time, plain transformers: what is compared is the work, without batching. The adapter's
system prompt is cached for both. The temperature is fitted on one half of the held-out records; accuracy and
calibration are of the other half.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from rich.console import Console
from rich.progress import track

from switchtower.settings import settings
from workers.adapters.shelf import AdapterShelf
from workers.engine.chat import asked, prompt_ids, shared_prefix
from workers.engine.grammar import Grammars, RowGrammar
from workers.engine.labels import LabelTree, fit_temperature, probabilities
from workers.local import SHIPPED
from workers.models import base as base_model
from workers.training.records import read_records
from workers.training.switch import put_on

ADAPTER = "intent-classification-v1"
SLACK = 4
"""Tokens that a written answer may run over the longest label."""

BINS = 10
SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 40},
        "kind": {"enum": ["bug", "wish", "question"]},
        "votes": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 3},
    },
    "required": ["title", "kind", "votes", "tags"],
}


class Reader:
    """Answers both ways behind a cached system prompt, as the engine does; `seconds` has what each way took."""

    def __init__(self, base: Any, labels: Sequence[str], system: str) -> None:
        self._base = base
        self._system = system
        self.tree = LabelTree.build(base.tokenizer, labels)
        self._longest = max(self.tree.depth) + 1 + SLACK
        self._prefix = shared_prefix(base.tokenizer, system)
        self._kept = self._step(self._prefix, None).past_key_values
        self.seconds: dict[str, list[float]] = {"scoring": [], "writing": []}

    def read(self, question: str) -> tuple[dict[str, float], str]:
        """The labels' log-probabilities, and what the model writes greedily."""
        prompt = prompt_ids(self._base.tokenizer, asked(self._system, question))[len(self._prefix) :]
        found = self._timed("scoring", prompt, self._scored)
        return found, self._timed("writing", prompt, self._written)

    def _timed(self, way: str, prompt: list[int], work: Callable[[list[int], Any], Any]) -> Any:
        cache = copy.deepcopy(self._kept)
        start = time.perf_counter()
        try:
            return work(prompt, cache)
        finally:
            self.seconds[way].append(time.perf_counter() - start)

    def _step(self, ids: list[int], cache: Any, **more: Any) -> Any:
        import torch

        with torch.inference_mode():
            there = torch.tensor([ids], device=self._base.device)
            return self._base.model(there, past_key_values=cache, use_cache=True, **more)

    def _scored(self, prompt: list[int], cache: Any) -> dict[str, float]:
        """One pass: the rest of the prompt, and all labels behind it."""
        import torch

        length, tree, last = len(prompt), self.tree, len(self._prefix) + len(prompt) - 1
        sees = torch.ones(length + len(tree.ids), len(self._prefix) + length + len(tree.ids), dtype=torch.bool)
        sees = sees.tril(len(self._prefix))
        sees[length:, -len(tree.ids) :] = tree.mask
        mask = torch.zeros(sees.shape, dtype=self._base.model.dtype).masked_fill(~sees, -torch.inf)
        places = [*range(len(self._prefix), last + 1), *(last + depth for depth in tree.depth)]
        said = self._step(
            [*prompt, *tree.ids],
            cache,
            position_ids=torch.tensor([places], device=self._base.device),
            attention_mask=mask[None, None].to(self._base.device),
            logits_to_keep=len(tree.ids) + 1,
        )
        return tree.logprobs(said.logits[0, 0], said.logits[0, 1:])

    def _written(self, prompt: list[int], cache: Any) -> str:
        ids: list[int] = []
        last = self._step(prompt, cache, logits_to_keep=1).logits[0, -1]
        while (token := int(last.argmax())) != self.tree.end and len(ids) < self._longest:
            ids.append(token)
            last = self._step([token], cache).logits[0, -1]
        return str(self._base.tokenizer.decode(ids, skip_special_tokens=True))


def expected_calibration_error(scores: Sequence[Mapping[str, float]], truths: Sequence[str]) -> float:
    """How far, on average, the certainty of the chosen label is from how often it is right (Naeini et al., 2015)."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for found, truth in zip(scores, truths, strict=True):
        best = max(found, key=found.__getitem__)
        bins.setdefault(min(int(found[best] * BINS), BINS - 1), []).append((found[best], best == truth))
    gaps = [
        abs(mean(sure for sure, _ in some) - mean(right for _, right in some)) * len(some) for some in bins.values()
    ]
    return sum(gaps) / len(truths)


def accuracy(answers: Sequence[str], truths: Sequence[str]) -> float:
    return mean(answer == truth for answer, truth in zip(answers, truths, strict=True))


def labels(base: Any, adapter: str, most: int) -> dict[str, float]:
    """Score and write the held-out labels of an adapter; gives its figures."""
    shelf = AdapterShelf(SHIPPED)
    taken = shelf.take(adapter, base.linears())
    put_on(base, None, taken)
    records = read_records(SHIPPED / adapter / "data/heldout.jsonl")[:most]
    reader = Reader(base, sorted({record.answer for record in records}), taken.card.system_prompt)
    read = [reader.read(record.prompt) for record in track(records)]
    truths = [record.answer for record in records]
    fitted = fit_temperature([found for found, _ in read[::2]], truths[::2])
    told, written, said = [found for found, _ in read[1::2]], [text.strip() for _, text in read[1::2]], truths[1::2]
    plain, warm = [probabilities(found) for found in told], [probabilities(found, fitted) for found in told]
    scoring, writing = (median(reader.seconds[way]) for way in ("scoring", "writing"))
    return {
        "records": len(said),
        "tokens of the labels' tree": len(reader.tree.ids),
        "scoring, ms": scoring * 1e3,
        "writing, ms": writing * 1e3,
        "writing / scoring": writing / scoring,
        "accuracy, scored": accuracy([max(found, key=found.__getitem__) for found in plain], said),
        "accuracy, written": accuracy(written, said),
        "calibration error": expected_calibration_error(plain, said),
        "temperature": fitted,
        "calibration error, with temperature": expected_calibration_error(warm, said),
    }


def masks(base: Any, answers: int) -> dict[str, float]:
    """What the grammar adds to a step, over random answers under a schema."""
    import torch

    vocabulary = base.model.config.vocab_size
    grammars = Grammars(base.tokenizer, vocabulary)
    start = time.perf_counter()
    compiled = grammars.compile(json.dumps(SCHEMA))
    compiling, spent = time.perf_counter() - start, []
    draw = torch.Generator().manual_seed(1)
    for _ in range(answers):
        grammar = RowGrammar(compiled)
        while not grammar.ended:
            logits = torch.randn(1, vocabulary, generator=draw)
            start = time.perf_counter()
            grammar.mask(logits)
            begun = time.perf_counter()
            token = int(logits.argmax())
            chosen = time.perf_counter()
            grammar.accept(token)
            spent.append(begun - start + time.perf_counter() - chosen)
    spent.sort()
    return {
        "compiling the schema, ms": compiling * 1e3,
        "steps under the schema": len(spent),
        "mask and accept, median ms": median(spent) * 1e3,
        "mask and accept, 99th percentile ms": spent[len(spent) * 99 // 100] * 1e3,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", default=ADAPTER)
    parser.add_argument("--records", type=int, default=10_000, help="at most so many")
    parser.add_argument("--dtype", default="auto", help="the weights: auto, nf4, bfloat16, float32")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    said = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    base = base_model.load(settings().local.cache_directory, dtype=said.dtype)
    figures = masks(base, 20) | labels(base, said.adapter, said.records)
    for name, figure in figures.items():
        Console().print(f"{name:40} {figure:10.3f}")
    if said.json:
        said.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
