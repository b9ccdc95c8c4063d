"""The shelf: what it takes, and what it refuses with which words."""

import hashlib
import json
import struct
import sys

import pytest

from switchtower.errors import AdapterError
from switchtower.models import Capability, Provider
from workers.adapters.shelf import CARD, CONFIG, WEIGHTS, AdapterShelf

LINEARS = {"model.layers.0.self_attn.q_proj": (6, 4), "model.layers.0.mlp.down_proj": (4, 8)}
SHAPES = {
    f"base_model.model.{linear}.lora_{side}.weight": shape
    for linear, (out, into) in LINEARS.items()
    for side, shape in (("A", (2, into)), ("B", (out, 2)))
}


def safetensors(shapes):
    head, place = {}, 0
    for name, (rows, columns) in shapes.items():
        size = rows * columns * 2
        head[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + bytes(place)


def make(directory, name="poet-v1", shapes=SHAPES, weights=None, card=None, config=None):
    folder = directory / name
    folder.mkdir(parents=True)
    weights = safetensors(shapes) if weights is None else weights
    about = {
        "name": name, "version": 1, "base": "smollm2-135m-instruct", "capabilities": ["content"], "seed": 1,
        "system_prompt": "Rhyme.", "rank": 2, "sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip
    shape = {
        "peft_type": "LORA", "base_model_name_or_path": "smollm2-135m-instruct", "r": 2, "lora_alpha": 4,
        "target_modules": ["q_proj", "down_proj"],
    }  # fmt: skip
    (folder / CARD).write_text(json.dumps(about | (card or {})))
    (folder / CONFIG).write_text(json.dumps(shape | (config or {})))
    (folder / WEIGHTS).write_bytes(weights)
    return folder


def refused(directory, name="poet-v1"):
    with pytest.raises(AdapterError) as caught:
        AdapterShelf(directory).take(name, LINEARS)
    return str(caught.value)


def test_a_good_adapter_is_taken_with_the_bytes_that_were_checked(tmp_path):
    folder = make(tmp_path)
    adapter = AdapterShelf(tmp_path).take("poet-v1", LINEARS)
    assert adapter.weights == (folder / WEIGHTS).read_bytes()
    assert adapter.shape.target_modules == ("q_proj", "down_proj")


def test_cards_are_what_the_router_reads(tmp_path):
    make(tmp_path)
    (card,) = AdapterShelf(tmp_path).cards()
    assert (card.name, card.adapter, card.provider, card.base) == (
        "poet-v1", "poet-v1", Provider.LOCAL, "smollm2-135m-instruct",
    )  # fmt: skip
    assert card.capabilities == {Capability.CONTENT}
    assert card.system_prompt == "Rhyme."


def test_a_bad_card_does_not_hide_the_good_ones(tmp_path, caplog):
    make(tmp_path)
    make(tmp_path, "odd-v1", card={"capabilities": ["magic"]})
    assert [card.name for card in AdapterShelf(tmp_path).cards()] == ["poet-v1"]
    assert "odd-v1" in caplog.text


def test_an_empty_or_missing_directory_is_an_empty_shelf(tmp_path):
    assert AdapterShelf(tmp_path / "nowhere").cards() == []


def test_an_unknown_name_is_told_which_exist(tmp_path):
    make(tmp_path)
    assert "there are: poet-v1" in refused(tmp_path, "painter-v1")


@pytest.mark.parametrize("name", ["..", "../poet-v1", "/etc", "a/b", "", ".hidden", "Poet", "a.b", "x" * 65, "a\n"])
def test_what_is_no_name_is_refused(tmp_path, name):
    make(tmp_path / "shelf")
    assert "no adapter name" in refused(tmp_path / "shelf", name)


def test_a_link_that_leaves_the_directory_is_refused(tmp_path):
    make(tmp_path / "elsewhere")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "poet-v1").symlink_to(tmp_path / "elsewhere" / "poet-v1")
    assert "outside" in refused(shelf)


def test_a_linked_file_that_leaves_the_directory_is_refused(tmp_path):
    file = make(tmp_path / "shelf") / WEIGHTS
    file.rename(tmp_path / "weights")
    file.symlink_to(tmp_path / "weights")
    assert "outside" in refused(tmp_path / "shelf")


def test_a_missing_tensor_is_named(tmp_path):
    lost, *_ = SHAPES
    make(tmp_path, shapes={name: shape for name, shape in SHAPES.items() if name != lost})
    assert "1 tensors are missing" in (words := refused(tmp_path))
    assert lost in words


def test_a_tensor_that_fits_nowhere_is_named(tmp_path):
    make(tmp_path, shapes=SHAPES | {"base_model.model.lm_head.weight": (2, 2)})
    assert "lm_head" in refused(tmp_path)


def test_a_misshapen_tensor_is_named_with_both_shapes(tmp_path):
    name = next(iter(SHAPES))
    make(tmp_path, shapes=SHAPES | {name: (2, 5)})
    assert f"{name} has the shape (2, 5); the base model needs (2, 4)" in refused(tmp_path)


def test_another_base_model_is_refused(tmp_path):
    make(tmp_path, card={"base": "llama-7b"})
    assert "'llama-7b'" in refused(tmp_path)


def test_a_config_for_another_base_model_is_refused(tmp_path):
    make(tmp_path, config={"base_model_name_or_path": "llama-7b"})
    assert "disagree" in refused(tmp_path)


def test_weights_that_are_not_on_the_card_are_refused(tmp_path):
    make(tmp_path, card={"sha256": "0" * 64})
    assert "not the ones on its card" in refused(tmp_path)


def test_a_card_that_was_copied_from_another_adapter_is_refused(tmp_path):
    make(tmp_path, card={"name": "painter-v1"})
    assert "belongs to 'painter-v1'" in refused(tmp_path)


def test_a_pickle_is_refused_unread(tmp_path):
    folder = make(tmp_path)
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    assert "pickle" in refused(tmp_path)


@pytest.mark.parametrize("weights", [b"", b"PK\x03\x04 a zip", b"\x80\x04 a pickle, renamed", safetensors(SHAPES)[:-1]])
def test_what_is_not_safetensors_is_refused(tmp_path, weights):
    make(tmp_path, weights=weights)
    assert "not a safetensors file" in refused(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "IA3"}, {"use_dora": True}, {"bias": "all"}, {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 8}}, {"target_modules": ".*"}, {"r": 0}, {"fan_in_fan_out": True},
    ],
)  # fmt: skip
def test_arithmetic_that_the_engine_does_not_do_is_refused(tmp_path, config):
    make(tmp_path, config=config)
    assert f"{CONFIG}: {next(iter(config))}" in refused(tmp_path)


def test_a_folder_without_its_config_is_refused(tmp_path):
    (make(tmp_path) / CONFIG).unlink()
    assert f"cannot read {CONFIG}" in refused(tmp_path)


def test_the_shelf_needs_no_torch(tmp_path):
    before = "torch" in sys.modules
    make(tmp_path)
    AdapterShelf(tmp_path).take("poet-v1", LINEARS)
    assert ("torch" in sys.modules) is before
