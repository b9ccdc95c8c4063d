"""Training a tiny model: killed and taken up again it gives the same weights to the last bit."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.support.trainings import LONG, RECORDS, STEPS, job, tiny_bases
from workers.training.checkpoints import FILE, FOLDER, Checkpoints
from workers.training.errors import NotBetter, TrainingBroken
from workers.training.orders import Order
from workers.training.process import Training


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return tiny_bases(tmp_path_factory.mktemp("base"))


def trained(bases, job, until=STEPS, every=5):
    """The adapter's tensors after a training in this process, which may break off after a step."""
    from peft import get_peft_model_state_dict

    from workers.models.base import load_dense
    from workers.training.lora import train

    losses = []

    def advance(step, loss):
        losses.append(loss)
        if step == until < STEPS:
            raise InterruptedError

    base = load_dense(bases.cache, source=bases.source)
    peft = train(base, job, advance, every).peft
    return {name: tensor.clone() for name, tensor in get_peft_model_state_dict(peft).items()}, losses


def test_a_training_that_broke_off_gives_the_same_weights_as_one_that_did_not(bases, tmp_path):
    whole, losses = trained(bases, job(tmp_path / "whole-v1"))
    broken = job(tmp_path / "broken-v1")
    for until in (7, 22):
        with pytest.raises(InterruptedError):
            trained(bases, broken, until)
    resumed, rest = trained(bases, broken)
    assert len(losses) == STEPS
    assert rest == losses[20:]
    assert whole.keys() == resumed.keys()
    assert all(whole[name].equal(resumed[name]) for name in whole)
    assert any(tensor.abs().sum() > 0 for name, tensor in whole.items() if "lora_B" in name)


def test_a_checkpoint_of_another_recipe_or_other_data_is_not_taken_up(bases, tmp_path):
    mine = job(tmp_path / "mine-v1")
    with pytest.raises(InterruptedError):
        trained(bases, mine, until=7)
    assert Checkpoints(mine).load().step == 5
    assert Checkpoints(job(mine.folder, seed=4)).load() is None
    assert Checkpoints(mine.model_copy(update={"train": RECORDS[1:]})).load() is None
    assert Checkpoints(mine.model_copy(update={"heldout": RECORDS[:4]})).load().step == 5


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\x80\x04pickle"])
def test_a_damaged_checkpoint_is_as_good_as_none(bases, tmp_path, content):
    mine = job(tmp_path / "mine-v1")
    (mine.folder / FOLDER).mkdir(parents=True)
    (mine.folder / FOLDER / FILE).write_bytes(content)
    assert Checkpoints(mine).load() is None


def followed(order, kill_at=None):
    """The outcome of a training in a process of its own, which may be killed at a step."""
    with Training(order) as training:
        for progress in training.progress():
            if kill_at and progress and progress.phase == "training" and progress.done >= kill_at:
                os.kill(training.pid, signal.SIGKILL)
        return training.outcome


def test_a_killed_process_is_told_apart_and_leaves_its_checkpoint(bases, tmp_path):
    with pytest.raises(TrainingBroken, match="-9"):
        followed(Order(action="train", job=job(tmp_path / "poet-v1"), bases=bases), kill_at=20)
    assert [path.name for path in tmp_path.rglob(FILE)] == [FILE]


def test_what_the_process_refuses_is_raised_here_by_its_name(bases, tmp_path):
    hopeless = job(tmp_path / "poet-v1", learning_rate=1e-9, epochs=1)
    with pytest.raises(NotBetter, match="nothing was written"):
        followed(Order(action="train", job=hopeless, bases=bases))
    assert not (tmp_path / "poet-v1").exists()


def test_leaving_early_ends_the_process_and_keeps_the_checkpoint(bases, tmp_path):
    order = Order(action="train", job=job(tmp_path / "poet-v1", **LONG), bases=bases)
    with Training(order) as training:
        for progress in training.progress():
            if progress and progress.phase == "training" and progress.done >= 20:
                break
    with pytest.raises(ProcessLookupError):
        os.kill(training.pid, 0)
    assert (tmp_path / "poet-v1" / FOLDER / FILE).exists()
    assert json.loads(order.model_dump_json())["action"] == "train"
