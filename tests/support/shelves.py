"""Adapters for tests: tiny ones on a real shelf, and a shelf, a bank, threads and a clock that tests lead by hand."""

from __future__ import annotations

import hashlib
import json
import struct
from collections import Counter

from switchtower.errors import AdapterNotFound
from workers.adapters.shelf import CARD, CONFIG, WEIGHTS, Adapter, Card, Shape

LINEARS = {"model.layers.0.self_attn.q_proj": (6, 4), "model.layers.0.mlp.down_proj": (4, 8)}
BASE = "smollm2-135m-instruct"
BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I8": 1}


def shapes(rank=2):
    """The tensors of an adapter on those linears."""
    return {
        f"base_model.model.{linear}.lora_{side}.weight": shape
        for linear, (out, into) in LINEARS.items()
        for side, shape in (("A", (rank, into)), ("B", (out, rank)))
    }


SHAPES = shapes()


def safetensors(named, dtype="BF16", fill=b"\0"):
    """A file of these tensors, of equal bytes throughout."""
    head, place = {}, 0
    for name, (rows, columns) in named.items():
        size = rows * columns * BYTES[dtype]
        head[name] = {"dtype": dtype, "shape": [rows, columns], "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + fill * place


def about(name, weights, rank=2):
    """What the card says and what the configuration says."""
    card = {
        "name": name, "version": 1, "base": BASE, "capabilities": ["content"], "seed": 1,
        "system_prompt": "Rhyme.", "rank": rank, "sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip
    shape = {
        "peft_type": "LORA", "base_model_name_or_path": BASE, "r": rank, "lora_alpha": 4,
        "target_modules": ["q_proj", "down_proj"],
    }  # fmt: skip
    return card, shape


def make(directory, name="poet-v1", shapes=SHAPES, weights=None, card=None, config=None, rank=2):
    """An adapter's folder on the shelf in this directory."""
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    weights = safetensors(shapes) if weights is None else weights
    its_card, its_shape = about(name, weights, rank)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CONFIG).write_text(json.dumps(its_shape | (config or {})))
    (folder / CARD).write_text(json.dumps(its_card | (card or {})))
    return folder


class PaperShelf:
    """A shelf without files, on which a test puts, changes and breaks adapters."""

    def __init__(self, *names):
        self.adapters = {}
        self.changes = 0
        self.reads = Counter()
        self.reading = lambda name: None
        for name in names:
            self.put(name)

    def put(self, name, version=1, rank=2):
        weights = safetensors(shapes(rank), fill=bytes([version]))
        card, shape = about(name, weights, rank)
        self._set(name, Adapter(Card(**card), Shape(**shape), weights))

    def spoil(self, name, error):
        self._set(name, error)

    def remove(self, name):
        self._set(name, AdapterNotFound(f"there is no adapter {name!r}"))

    def stamp(self, name):
        return self.adapters.get(name, (0, None))[:1]

    def card(self, name):
        return self._get(name).card

    def take(self, name, linears):
        self.reads[name] += 1
        self.reading(name)
        return self._get(name)

    def _set(self, name, adapter):
        self.changes += 1
        self.adapters[name] = (self.changes, adapter)

    def _get(self, name):
        found = self.adapters.get(name, (0, AdapterNotFound(f"there is no adapter {name!r}")))[1]
        if isinstance(found, Exception):
            raise found
        return found


class RecordingBank:
    """Slots that remember what is in them and complain about whatever must not be done to them."""

    def __init__(self, slots=2, max_rank=8):
        self.slots, self.max_rank = slots, max_rank
        self.held = {}
        self.calls = []
        self.rows = Counter()
        self.loading = lambda slot, weights: None

    def load(self, slot, weights):
        assert 1 <= slot <= self.slots
        assert slot not in self.held, "the slot is not empty"
        self._expect_unused(slot)
        self.calls.append(("load", slot, weights.version))
        self.held[slot] = None
        self.loading(slot, weights)
        self._expect_unused(slot)
        self.held[slot] = weights.version

    def clear(self, slot):
        self._expect_unused(slot)
        self.calls.append(("clear", slot))
        del self.held[slot]

    def _expect_unused(self, slot):
        assert not self.rows[slot], f"slot {slot} has rows in flight"


class StepCrew:
    """Runs jobs when the test says so."""

    def __init__(self):
        self.reads, self.places = [], []
        self.at = None

    def read(self, job):
        self.reads.append(job)

    def place(self, job):
        self.places.append(job)

    def ring(self, at):
        self.at = at

    def close(self):
        self.reads.clear()
        self.places.clear()

    def run(self):
        """Everything that there is to do, and what comes of it."""
        while self.reads or self.places:
            (self.reads or self.places).pop(0)()


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now
