"""The bank of ranks on a few small linears: whatever shape the tokens come in, each gets its own adapter."""

import pytest

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

import torch

from workers.adapters.weights import HostWeights
from workers.engine.bank import SlotBank

LINEARS = {"first": (6, 4), "second": (5, 6)}
SLOTS, MAX_RANK = 3, 4


class Two(torch.nn.Module):
    """Two linears, one after the other."""

    dtype = torch.float32

    def __init__(self):
        super().__init__()
        for name, (out, into) in LINEARS.items():
            setattr(self, name, torch.nn.Linear(into, out))

    def forward(self, x):
        return self.second(self.first(x))


def adapter(seed, rank, linears=LINEARS):
    draw = torch.Generator().manual_seed(seed)
    tensors = {
        name: (torch.randn(rank, into, generator=draw), torch.randn(out, rank, generator=draw))
        for name, (out, into) in linears.items()
    }
    return HostWeights(f"adapter-{seed}", rank, 0.5, tensors, 0)


def by_hand(model, x, weights):
    """LoRA as its paper writes it: W x + scaling · B A x."""
    for name in LINEARS:
        y = getattr(model, name).forward(x)
        if weights is not None and name in weights.tensors:
            a, b = weights.tensors[name]
            y = y + weights.scaling * (x @ a.T @ b.T)
        x = y
    return x


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Two()


@pytest.fixture
def bank(model):
    return SlotBank(model, LINEARS, SLOTS, MAX_RANK)


def answers(bank, model, x, slots):
    with torch.inference_mode(), bank.wearing(slots):
        return model(x)


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (2, 4)], ids=["packed", "a row each", "padded"])
def test_each_token_gets_its_own_adapter_in_any_shape(bank, model, shape):
    worn = {1: adapter(1, 4), 2: adapter(2, 1), 3: adapter(3, 2, {"second": LINEARS["second"]})}
    for slot, weights in worn.items():
        bank.load(slot, weights)
    slots, x = [1, 2, 0, 3, 3, 2, 1, 0], torch.randn(8, 4)
    found = answers(bank, model, x.view(*shape, 4), slots).view(8, -1)
    for token, slot, answer in zip(x, slots, found, strict=True):
        assert torch.allclose(answer, by_hand(model, token, worn.get(slot)), atol=1e-5)


def test_tokens_of_the_base_alone_are_answered_as_if_there_were_no_bank(bank, model):
    x = torch.randn(1, 3, 4)
    plain = by_hand(model, x, None)
    bank.load(1, adapter(1, 4))
    assert torch.equal(answers(bank, model, x, [0, 0, 0]), plain)


def test_outside_the_block_nothing_is_worn_even_after_an_exception(bank, model):
    x = torch.randn(1, 1, 4)
    bank.load(1, adapter(1, 4))
    with pytest.raises(RuntimeError), bank.wearing([1]):
        model(torch.randn(1, 1, 99))
    assert torch.equal(model(x), by_hand(model, x, None))


def test_a_slot_is_cleared_to_the_last_rank_and_used_again(bank, model):
    x, weights = torch.randn(1, 1, 4), [adapter(seed, rank) for seed, rank in ((1, 4), (2, 4), (3, 4), (4, 2), (5, 1))]
    for slot in (1, 2, 3):
        bank.load(slot, weights[slot - 1])
    bank.clear(2)
    assert bank.nbytes == 2 * 4 * 4 * sum(out + into for out, into in LINEARS.values())
    bank.load(2, weights[3])
    bank.clear(1)
    bank.load(1, weights[4])
    for slot, index in ((1, 4), (2, 3), (3, 2)):
        assert torch.allclose(answers(bank, model, x, [slot]), by_hand(model, x, weights[index]), atol=1e-5)


def test_ranks_that_do_not_lie_side_by_side_serve_as_well(bank, model):
    bank.load(1, adapter(1, 3))
    bank.load(2, adapter(2, 3))
    bank.load(3, adapter(3, 4))
    bank.clear(1)
    bank.clear(3)
    scattered = adapter(4, 4)
    bank._free = {0, 2, 7, 9}
    bank.load(1, scattered)
    x = torch.randn(1, 1, 4)
    assert torch.allclose(answers(bank, model, x, [1]), by_hand(model, x, scattered), atol=1e-5)


def test_infinities_of_one_adapter_reach_no_other_token(bank, model):
    calm, wild = adapter(1, 2), adapter(2, 2)
    wild.tensors["first"][0].fill_(3e38)
    wild.tensors["first"][1].fill_(3e38)
    bank.load(1, calm)
    bank.load(2, wild)
    x = torch.ones(2, 4)
    found = answers(bank, model, x[None], [1, 2])[0]
    assert torch.allclose(found[0], by_hand(model, x[0], calm), atol=1e-5)
    assert not torch.isfinite(found[1]).all()


def test_a_detached_bank_changes_nothing(bank, model):
    x = torch.randn(1, 1, 4)
    bank.load(1, adapter(1, 4))
    bank.detach()
    assert torch.equal(answers(bank, model, x, [1]), by_hand(model, x, None))
