"""What the built-in base model takes of the memory and gives back, and where it is in 4 bits."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="base models need the extra [local]")

from switchtower.settings import settings
from tests.support.alone import run_alone
from workers.models import base as base_model
from workers.models import fourbits


@pytest.mark.parametrize(
    ("repacks", "tiles", "four"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_four_bits_are_chosen_where_they_answer_batches_faster(monkeypatch, repacks, tiles, four):
    import torch

    monkeypatch.setattr(fourbits, "repacks", lambda: repacks)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert fourbits.computes_well("cpu") is four
    assert fourbits.computes_well("cuda:0")


@pytest.mark.skipif(not fourbits.repacks(), reason="this processor does not compute from 4 bits")
def test_the_built_in_model_in_four_bits_takes_at_most_120_mb():
    import torch

    base = base_model.load(settings().local.cache_directory, dtype="nf4")
    with torch.inference_mode():
        base.model(torch.tensor([[1, 2, 3]]))
    assert numbers(base.model) <= 120e6


def numbers(model):
    """Bytes of all parameters and buffers, and of what 4 bits need beside them."""
    found = {id(one): one for one in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        if state := getattr(getattr(module, "weight", None), "quant_state", None):
            nested = getattr(state, "state2", None)
            for one in (state.absmax, state.code, *((nested.absmax, nested.code) if nested else ())):
                found[id(one)] = one
    return sum(one.numel() * one.element_size() for one in found.values())


def test_unloading_gives_the_memory_back_round_after_round():
    said = run_alone(
        """
from pathlib import Path
from switchtower.settings import settings
from workers.models import base
from workers.models.holder import Holder
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
holder = Holder(lambda progress: base.load(settings().local.cache_directory, "cpu", dtype="float32"))
for _ in range(2):
    model = holder.load().model
    full = resident()
    holder.unload()
    print(full, resident())
"""
    )
    assert said.returncode == 0, said.stderr
    rounds = [tuple(map(float, line.split())) for line in said.stdout.splitlines()]
    assert all(full - empty > 400 for full, empty in rounds)
    assert rounds[-1][1] < rounds[0][1] + 60
