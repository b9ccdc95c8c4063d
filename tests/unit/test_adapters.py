"""The shelf: what it takes, and what it refuses with which words."""

import itertools
import os
import sys

import pytest

from switchtower.errors import (
    AdapterCorrupt,
    AdapterError,
    AdapterEscapes,
    AdapterForeign,
    AdapterNotFound,
    AdapterOversized,
    AdapterUnsupported,
)
from switchtower.models import Capability, Provider
from tests.support.shelves import LINEARS, SHAPES, make, safetensors, shapes
from workers.adapters.shelf import CARD, CONFIG, WEIGHTS, AdapterShelf
from workers.adapters.weights import host_weights
from workers.files import kernel_opener, walking_opener

NAN = {"BF16": b"\xc0\x7f", "F16": b"\x00\x7e", "F32": b"\x00\x00\xc0\x7f"}
INFINITY = {"BF16": b"\x80\x7f", "F16": b"\x00\x7c", "F32": b"\x00\x00\x80\xff"}


def refused(directory, name="poet-v1", kind=AdapterError, **shelf):
    with pytest.raises(kind) as caught:
        AdapterShelf(directory, **shelf).take(name, LINEARS)
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
    assert "there are: poet-v1" in refused(tmp_path, "painter-v1", AdapterNotFound)


@pytest.mark.parametrize("name", ["..", "../poet-v1", "/etc", "a/b", "", ".hidden", "Poet", "a.b", "x" * 65, "a\n"])
def test_what_is_no_name_is_refused(tmp_path, name):
    make(tmp_path / "shelf")
    assert "no adapter name" in refused(tmp_path / "shelf", name, AdapterNotFound)


@pytest.fixture(params=[kernel_opener, walking_opener])
def opener(request, monkeypatch):
    """With the kernel's way to open files beneath a folder, and with the one for old kernels and strict containers."""
    monkeypatch.setattr("workers.adapters.folder.best_opener", lambda: request.param)


@pytest.mark.usefixtures("opener")
def test_a_link_that_leaves_the_directory_is_refused(tmp_path):
    make(tmp_path / "elsewhere")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "poet-v1").symlink_to(tmp_path / "elsewhere" / "poet-v1")
    assert "outside" in refused(shelf, kind=AdapterEscapes)


@pytest.mark.usefixtures("opener")
def test_a_linked_file_that_leaves_the_directory_is_refused(tmp_path):
    file = make(tmp_path / "shelf") / WEIGHTS
    file.rename(tmp_path / "weights")
    file.symlink_to(tmp_path / "weights")
    assert "outside" in refused(tmp_path / "shelf", kind=AdapterEscapes)


@pytest.mark.usefixtures("opener")
def test_a_link_within_the_directory_is_refused_as_well(tmp_path):
    make(tmp_path, "poet-v2")
    (tmp_path / "poet-v1").symlink_to("poet-v2")
    assert "link" in refused(tmp_path, kind=AdapterEscapes)


def test_the_directory_itself_may_be_a_link(tmp_path):
    make(tmp_path / "real")
    (tmp_path / "linked").symlink_to("real")
    assert AdapterShelf(tmp_path / "linked").take("poet-v1", LINEARS).card.name == "poet-v1"


@pytest.mark.usefixtures("opener")
@pytest.mark.parametrize("file", [CARD, CONFIG, WEIGHTS])
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path, file):
    folder = make(tmp_path)
    (folder / file).unlink()
    os.mkfifo(folder / file)
    assert "not a plain file" in refused(tmp_path, kind=AdapterCorrupt)


def test_a_file_in_the_place_of_a_folder_is_no_adapter(tmp_path):
    (tmp_path / "poet-v1").write_text("hello")
    assert "there is no adapter 'poet-v1'" in refused(tmp_path, kind=AdapterNotFound)


def test_weights_over_the_limit_are_refused_unread(tmp_path):
    make(tmp_path)
    assert "larger than" in refused(tmp_path, kind=AdapterOversized, max_bytes=100)


@pytest.mark.parametrize("file", [CARD, CONFIG])
def test_an_endless_description_is_refused_unread(tmp_path, file):
    (make(tmp_path) / file).write_text(" " * 2**20 + "{}")
    assert f"{file} is larger than 1 MiB" in refused(tmp_path, kind=AdapterOversized)


def test_a_missing_tensor_is_named(tmp_path):
    lost, *_ = SHAPES
    make(tmp_path, shapes={name: shape for name, shape in SHAPES.items() if name != lost})
    assert "1 tensors are missing" in (words := refused(tmp_path, kind=AdapterCorrupt))
    assert lost in words


def test_a_tensor_that_fits_nowhere_is_named(tmp_path):
    make(tmp_path, shapes=SHAPES | {"base_model.model.lm_head.weight": (2, 2)})
    assert "lm_head" in refused(tmp_path, kind=AdapterUnsupported)


def test_a_misshapen_tensor_is_named_with_both_shapes(tmp_path):
    name = next(iter(SHAPES))
    make(tmp_path, shapes=SHAPES | {name: (2, 5)})
    assert f"{name} has the shape (2, 5); the base model needs (2, 4)" in refused(tmp_path, kind=AdapterCorrupt)


def test_another_base_model_is_refused(tmp_path):
    make(tmp_path, card={"base": "llama-7b"})
    assert "'llama-7b'" in refused(tmp_path, kind=AdapterForeign)


def test_a_shelf_may_be_another_base_models(tmp_path):
    make(tmp_path, card={"base": "llama-7b"}, config={"base_model_name_or_path": "llama-7b"})
    assert AdapterShelf(tmp_path, "llama-7b").take("poet-v1", LINEARS).card.base == "llama-7b"


def test_other_weights_of_the_same_base_are_refused(tmp_path):
    make(tmp_path, card={"base_sha256": "a" * 64})
    assert "other weights" in refused(tmp_path, kind=AdapterForeign, base_sha256="b" * 64)
    assert AdapterShelf(tmp_path, base_sha256="a" * 64).take("poet-v1", LINEARS)
    assert AdapterShelf(tmp_path).take("poet-v1", LINEARS), "a shelf that knows no hash asks for none"


def test_a_card_without_the_bases_hash_is_taken(tmp_path):
    make(tmp_path)
    assert AdapterShelf(tmp_path, base_sha256="a" * 64).take("poet-v1", LINEARS)


def test_a_base_without_its_linears_is_foreign(tmp_path):
    make(tmp_path, config={"target_modules": ["query"]})
    assert "none of its target modules" in refused(tmp_path, kind=AdapterForeign)


def test_target_modules_are_names_or_the_ends_of_names(tmp_path):
    make(tmp_path, config={"target_modules": ["self_attn.q_proj", "model.layers.0.mlp.down_proj"]})
    assert AdapterShelf(tmp_path).take("poet-v1", LINEARS)
    make(tmp_path, "odd-v1", config={"target_modules": ["_proj"]})
    assert "none of its target modules" in refused(tmp_path, "odd-v1", AdapterForeign)


def test_a_config_for_another_base_model_is_refused(tmp_path):
    make(tmp_path, config={"base_model_name_or_path": "llama-7b"})
    assert "disagree" in refused(tmp_path, kind=AdapterCorrupt)


def test_weights_that_are_not_on_the_card_are_refused(tmp_path):
    make(tmp_path, card={"sha256": "0" * 64})
    assert "not the ones on its card" in refused(tmp_path, kind=AdapterCorrupt)


def test_a_card_that_was_copied_from_another_adapter_is_refused(tmp_path):
    make(tmp_path, card={"name": "painter-v1"})
    assert "belongs to 'painter-v1'" in refused(tmp_path, kind=AdapterCorrupt)


def test_a_pickle_is_refused_unread(tmp_path):
    folder = make(tmp_path)
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    assert "pickle" in refused(tmp_path, kind=AdapterUnsupported)


@pytest.mark.parametrize(
    "weights",
    [b"", b"PK\x03\x04 a zip", b"\x80\x04 a pickle, renamed", safetensors(SHAPES)[:-1], safetensors(SHAPES) + b"x"],
)
def test_what_is_not_safetensors_is_refused(tmp_path, weights):
    make(tmp_path, weights=weights)
    assert "not a safetensors file" in refused(tmp_path, kind=AdapterCorrupt)


@pytest.mark.parametrize("dtype", ["F64", "I8"])
def test_other_number_formats_are_refused(tmp_path, dtype):
    make(tmp_path, weights=safetensors(SHAPES, dtype))
    assert f"is in {dtype}" in refused(tmp_path, kind=AdapterUnsupported)


@pytest.mark.parametrize("number", [*NAN.items(), *INFINITY.items()])
def test_what_is_no_number_is_found_wherever_it_stands(tmp_path, number):
    dtype, bits = number
    weights = safetensors(SHAPES, dtype)
    make(tmp_path, weights=weights[: -len(bits)] + bits)
    assert "NaN or infinity" in refused(tmp_path, kind=AdapterCorrupt)


@pytest.mark.parametrize(("dtype", "bits"), [("BF16", b"\x7f\x7f"), ("F16", b"\xff\x7b"), ("F32", b"\xff\xff\x7f\x7f")])
def test_the_largest_numbers_are_numbers(tmp_path, dtype, bits):
    weights = safetensors(SHAPES, dtype)
    make(tmp_path, weights=weights[: -len(bits)] + bits)
    assert AdapterShelf(tmp_path).take("poet-v1", LINEARS)


def named_twice(*, odd_last):
    """A file whose first tensor has a second entry, of another shape."""
    good = safetensors(SHAPES)
    size = int.from_bytes(good[:8], "little")
    head, body = good[8 : 8 + size].decode(), good[8 + size :]
    odd = head[1 : head.index("}") + 1].replace("[2, 4]", "[1, 8]")
    twice = (f"{head[:-1]},{odd}}}" if odd_last else f"{{{odd},{head[1:]}").encode()
    return len(twice).to_bytes(8, "little") + twice + body


def test_of_a_tensor_that_is_named_twice_the_one_that_is_read_is_checked(tmp_path):
    make(tmp_path, weights=named_twice(odd_last=True))
    assert "(1, 8)" in refused(tmp_path, kind=AdapterCorrupt)
    make(tmp_path, weights=named_twice(odd_last=False))
    weights = host_weights(AdapterShelf(tmp_path).take("poet-v1", LINEARS), LINEARS)
    assert weights.tensors["model.layers.0.self_attn.q_proj"][0].shape == (2, 4)


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "IA3"}, {"use_dora": True}, {"bias": "all"}, {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 8}}, {"target_modules": ".*"}, {"r": 0}, {"fan_in_fan_out": True},
        {"use_rslora": True}, {"alpha_pattern": {"q_proj": 8}}, {"init_lora_weights": "pissa"},
        {"layer_replication": [[0, 1]]}, {"alora_invocation_tokens": [1]}, {"lora_bias": True},
        {"target_parameters": ["experts"]}, {"trainable_token_indices": [1]},
    ],
)  # fmt: skip
def test_arithmetic_that_the_engine_does_not_do_is_refused(tmp_path, config):
    make(tmp_path, config=config)
    assert f"{CONFIG}: {next(iter(config))}" in refused(tmp_path, kind=AdapterUnsupported)


def test_a_folder_without_its_config_is_refused(tmp_path):
    (make(tmp_path) / CONFIG).unlink()
    assert f"cannot read {CONFIG}" in refused(tmp_path, kind=AdapterCorrupt)


def test_the_shelf_needs_no_torch(tmp_path):
    before = "torch" in sys.modules
    make(tmp_path)
    AdapterShelf(tmp_path).take("poet-v1", LINEARS)
    assert ("torch" in sys.modules) is before


def test_the_registry_tells_what_an_adapter_is_without_its_weights(tmp_path):
    folder = make(tmp_path, card={"base_sha256": "a" * 64})
    entry = AdapterShelf(tmp_path).registered("poet-v1")
    assert (entry.card.rank, entry.targets, entry.scaling) == (2, ("q_proj", "down_proj"), 2.0)
    assert entry.nbytes == (folder / WEIGHTS).stat().st_size
    assert entry.full_version == f"poet-v1-{entry.card.sha256[:12]}"
    assert entry.card.base_sha256 == "a" * 64


def aged(monkeypatch):
    """From now on no file counts as just changed."""
    monkeypatch.setattr("workers.adapters.shelf._YOUNG_NS", 0)


def test_a_stamp_stays_while_the_files_do(tmp_path, monkeypatch):
    aged(monkeypatch)
    make(tmp_path)
    shelf = AdapterShelf(tmp_path)
    assert shelf.stamp("poet-v1") == shelf.stamp("poet-v1")


@pytest.mark.parametrize("file", [CARD, CONFIG, WEIGHTS])
def test_a_stamp_changes_with_each_file(tmp_path, monkeypatch, file):
    aged(monkeypatch)
    folder = make(tmp_path)
    before = AdapterShelf(tmp_path).stamp("poet-v1")
    data = (folder / file).read_bytes()
    (folder / "new").write_bytes(data)
    (folder / "new").replace(folder / file)
    assert AdapterShelf(tmp_path).stamp("poet-v1") != before


def test_files_that_have_just_changed_are_not_trusted_to_stay(tmp_path):
    make(tmp_path)
    shelf = AdapterShelf(tmp_path)
    assert shelf.stamp("poet-v1") != shelf.stamp("poet-v1")


def test_host_weights_are_the_files_numbers_and_no_more_bytes(tmp_path):
    make(tmp_path, weights=safetensors(shapes(3), "F32"), rank=3)
    weights = host_weights(AdapterShelf(tmp_path).take("poet-v1", LINEARS), LINEARS)
    a, b = weights.tensors["model.layers.0.mlp.down_proj"]
    assert (tuple(a.shape), tuple(b.shape), weights.rank, weights.scaling) == ((3, 8), (4, 3), 3, 4 / 3)
    assert weights.nbytes == 4 * 3 * (4 + 6 + 8 + 4)
    tensors = [tensor for pair in weights.tensors.values() for tensor in pair]
    begin = min(tensor.data_ptr() for tensor in tensors)
    assert max(tensor.data_ptr() + tensor.nbytes for tensor in tensors) - begin == weights.nbytes


def test_host_weights_are_what_safetensors_reads(tmp_path):
    import torch
    from safetensors.torch import load, save

    kinds = itertools.cycle([torch.bfloat16, torch.float32, torch.float16])
    made = {name: torch.randn(shape).to(next(kinds)) for name, shape in SHAPES.items()}
    make(tmp_path, weights=save(made))
    adapter = AdapterShelf(tmp_path).take("poet-v1", LINEARS)
    mine, theirs = host_weights(adapter, LINEARS), load(adapter.weights)
    for linear, (a, b) in mine.tensors.items():
        assert torch.equal(a, theirs[f"base_model.model.{linear}.lora_A.weight"])
        assert torch.equal(b, theirs[f"base_model.model.{linear}.lora_B.weight"])
