"""Base models on the disk and in memory: small ones of random numbers, and the built-in one."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="base models need the extra [local]")

from switchtower.errors import BaseModelError
from switchtower.settings import Local
from tests.support.alone import run_alone
from tests.support.tiny import CONTEXT, edit_json, write_gguf, write_model
from workers.models import base as base_model
from workers.models import fourbits, making, manifest, placement, shelf
from workers.models.placement import decoder_layers, devices, spread
from workers.models.progress import Progress
from workers.quiet import quiet

QUESTION = [{"role": "user", "content": "the sea"}]
FORMS = {"nf4": 0.25, "bfloat16": 0.01}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("models") / "small.gguf")


@pytest.fixture
def folder(llama, tmp_path):
    """A model that may be spoilt."""
    return Path(shutil.copytree(llama, tmp_path / "spoilt"))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def packs():
    return fourbits.repacks()


def logits(base):
    import torch

    tokens = base.tokenizer.apply_chat_template(QUESTION, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.inference_mode():
        return base.model(tokens).logits.float()


def standing(cache):
    """Everything in the cache but its locks."""
    return sorted(file.name for file in cache.glob("*") if file.name != ".locks") if cache.exists() else []


@pytest.mark.parametrize(
    ("kind", "shape", "linears"),
    [
        ("llama", {}, {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        ("qwen2", {}, {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        ("phi3", {"pad_token_id": 0}, {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}),
        ("starcoder2", {}, {"q_proj", "k_proj", "v_proj", "o_proj", "c_fc", "c_proj"}),
    ],
)
def test_a_folder_of_safetensors_is_a_base_model(tmp_path, cache, kind, shape, linears):
    source = write_model(tmp_path / f"My {kind}", kind, **shape)
    base = base_model.load(cache, source=str(source))
    assert (base.name, base.context_tokens, base.quantised) == (f"my-{kind}", CONTEXT, fourbits.computes_well("cpu"))
    assert base.sha256 == hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    assert {name.rpartition(".")[2] for name in base.linears()} == linears
    assert logits(base).isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_computes_the_same_model(llama, cache, form):
    exact = base_model.load(cache, source=str(llama), dtype="float32")
    assert {str(number.dtype) for number in exact.model.parameters()} == {"torch.float32"}
    other = base_model.load(cache, source=str(llama), dtype=form)
    wanted = logits(exact)
    assert (logits(other) - wanted).norm() <= FORMS[form] * wanted.norm()
    assert other.sha256 == exact.sha256


def test_a_model_in_shards_is_one_model(tmp_path, cache):
    source = write_model(tmp_path / "shards", shard="50KB")
    base = base_model.load(cache, source=str(source), dtype="float32")
    assert len(list((cache / "shards" / "dense").glob("*.safetensors"))) > 2
    assert (logits(base) == logits(base_model.load(cache, source="shards", dtype="float32"))).all()


def test_what_stands_in_the_cache_is_not_made_again(llama, cache):
    before = base_model.load(cache, source=str(llama))
    made = {file: file.stat().st_ino for file in cache.glob("llama/*/*")}
    assert base_model.load(cache, source="llama").sha256 == before.sha256
    assert {file: file.stat().st_ino for file in cache.glob("llama/*/*")} == made


def test_a_large_folder_does_not_lie_on_the_disk_twice(llama, cache):
    base_model.prepare(cache, source=str(llama))
    assert (cache / "llama" / "dense" / "model.safetensors").samefile(llama / "model.safetensors")


def test_only_what_belongs_to_a_model_is_taken(folder, cache):
    for stranger in ("pytorch_model.bin", "modeling_mine.py", "adapter_config.json", "notes.txt"):
        (folder / stranger).write_text("{}")
    base_model.prepare(cache, source=str(folder))
    taken = {file.name for file in (cache / "spoilt" / "dense").iterdir()}
    assert taken == {file.name for file in folder.iterdir()} - {
        "pytorch_model.bin",
        "modeling_mine.py",
        "adapter_config.json",
        "notes.txt",
    } | {manifest.FILE}


def rewrite(folder, change):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def cut_short(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def garbled(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 4096)


def without_a_tensor(folder):
    rewrite(folder, lambda tensors: tensors.pop("model.norm.weight"))


def with_a_misshapen_tensor(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": tensors["model.norm.weight"][:3].clone()}))


def without_a_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def without_a_template(folder):
    (folder / "chat_template.jinja").unlink()


def with_a_strangers_tokenizer(folder):
    edit_json(folder / "tokenizer.json", added_tokens=[])
    spoilt = json.loads((folder / "tokenizer.json").read_text())
    spoilt["model"]["vocab"] |= {f"word{number}": number for number in range(259, 1000)}
    (folder / "tokenizer.json").write_text(json.dumps(spoilt))


SPOILT = {
    cut_short: "cut short",
    garbled: "cut short or no safetensors file",
    without_a_tensor: "1 weights are missing, the first is model.norm.weight",
    with_a_misshapen_tensor: "transformers cannot load it",
    without_a_tokenizer: "no tokenizer",
    without_a_template: "put the right chat_template.jinja",
    with_a_strangers_tokenizer: "its tokenizer belongs to another model",
    lambda folder: (folder / "config.json").write_text("{"): "not JSON",
    lambda folder: edit_json(folder / "config.json", model_type="nosuch"): "'nosuch' is no causal language model",
    lambda folder: edit_json(folder / "config.json", model_type="clip"): "'clip' is no causal language model",
    lambda folder: edit_json(folder / "config.json", model_type="mamba"): "cannot batch 'mamba'",
    lambda folder: edit_json(folder / "config.json", quantization_config={"quant_method": "gptq"}): "quantised by gptq",
}


@pytest.mark.parametrize(("spoil", "told"), SPOILT.items(), ids=[told[:30] for told in SPOILT.values()])
def test_a_spoilt_folder_is_refused_by_name(folder, cache, spoil, told):
    spoil(folder)
    with pytest.raises(BaseModelError, match=told):
        base_model.load(cache, source=str(folder), dtype="bfloat16")


def test_a_refused_folder_leaves_nothing_behind(folder, cache):
    without_a_template(folder)
    with pytest.raises(BaseModelError):
        base_model.load(cache, source=str(folder))
    assert standing(cache) == []


def test_an_interrupted_import_leaves_no_partial_model(llama, cache, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "quantise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        base_model.prepare(cache, source=str(llama), dtype="nf4")
    assert [file.name for file in (cache / "llama").iterdir()] == ["dense"]
    monkeypatch.undo()
    assert base_model.load(cache, source=str(llama), dtype="nf4").quantised


def test_two_who_need_a_model_at_once_make_it_once(llama, cache, monkeypatch):
    makings, make = [], base_model.make
    monkeypatch.setattr(base_model, "make", lambda home, form, *rest: makings.append(form) or make(home, form, *rest))
    callers = [
        threading.Thread(target=base_model.prepare, args=(cache,), kwargs={"source": str(llama), "dtype": "bfloat16"})
        for _ in range(3)
    ]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert makings == ["dense"]


def test_another_model_of_the_same_name_is_not_taken_for_it(llama, tmp_path, cache):
    base_model.prepare(cache, source=str(llama), dtype="bfloat16")
    copy = shutil.copytree(llama, tmp_path / "elsewhere" / "llama", copy_function=shutil.copyfile)
    base_model.prepare(cache, source=str(copy), dtype="bfloat16")
    rewrite(copy, lambda tensors: tensors["model.norm.weight"].zero_())
    with pytest.raises(BaseModelError, match=r"holds another model.*--name"):
        base_model.prepare(cache, source=str(copy), dtype="bfloat16")


def test_a_gguf_file_is_unpacked_once(gguf, cache):
    counts = []
    progress = Progress()
    progress.advance = lambda done, total: counts.append((done, total))
    base = base_model.load(cache, source=str(gguf), progress=progress)
    assert (base.name, base.context_tokens) == ("small", CONTEXT)
    assert base.sha256 == hashlib.sha256(gguf.read_bytes()).hexdigest()
    assert any(done == total for done, total in counts)
    assert logits(base).isfinite().all()
    counts.clear()
    base_model.load(cache, source=str(gguf), progress=progress)
    assert not counts


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-20_000]), "cannot be unpacked"),
        (lambda file: file.write_bytes(file.read_bytes()[:300]), "cannot be unpacked"),
        (lambda file: write_gguf(file, architecture="nosuch"), "architecture nosuch"),
        (lambda file: write_gguf(file, template=None), "chat_template.jinja"),
    ],
)
def test_a_spoilt_gguf_file_is_refused_by_name(gguf, tmp_path, cache, spoil, told):
    spoil(Path(shutil.copy(gguf, tmp_path / "spoilt.gguf")))
    with pytest.raises(BaseModelError, match=told):
        base_model.load(cache, source=str(tmp_path / "spoilt.gguf"))
    assert standing(cache) == []


def test_a_model_that_comes_in_four_bits_is_taken_as_it_is(llama, tmp_path, cache):
    base_model.prepare(cache, source=str(llama), dtype="nf4")
    packed = shutil.copytree(cache / "llama" / "nf4", tmp_path / "packed")
    base = base_model.load(tmp_path / "other", source=str(packed))
    assert base.quantised
    assert (logits(base) == logits(base_model.load(cache, source="llama", dtype="nf4"))).all()
    with pytest.raises(BaseModelError, match="came in 4 bits"):
        base_model.load_dense(tmp_path / "other", source="packed")


@pytest.mark.skipif(not packs(), reason="this processor does not compute from 4 bits")
def test_shapes_that_four_bits_do_not_fit_are_served_in_bf16(tmp_path, cache):
    source = str(write_model(tmp_path / "odd", intermediate_size=96))
    base = base_model.load(cache, source=source)
    assert not base.quantised
    assert logits(base).isfinite().all()
    with pytest.raises(BaseModelError, match=r"96.*local\.weights=bf16"):
        base_model.load(cache, source=source, dtype="nf4")


@pytest.mark.skipif(not packs(), reason="this processor does not compute from 4 bits")
def test_four_bits_made_elsewhere_are_refused_where_they_do_not_fit(tmp_path, cache, monkeypatch):
    source = str(write_model(tmp_path / "odd", intermediate_size=96))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(fourbits, "_unfit", lambda *_: {})
        base_model.prepare(cache, source=source, dtype="nf4")
    with pytest.raises(BaseModelError, match=r"96.*local\.weights=bf16"):
        base_model.load(cache, source=source, dtype="nf4")


def test_wrapping_a_model_for_training_does_not_change_what_an_adapter_may_target(llama, cache):
    base = base_model.load_dense(cache, source=str(llama))
    before = base.linears()
    with quiet():
        from peft import LoraConfig, get_peft_model

        get_peft_model(base.model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert base.linears() == before
    assert base.model.get_submodule("model.layers.0.self_attn.q_proj").base_layer.in_features == 64


@pytest.mark.parametrize("dtype", ["nf4", "bfloat16"])
def test_an_unloaded_model_holds_no_number(llama, cache, dtype):
    base = base_model.load(cache, source=str(llama), dtype=dtype)
    logits(base)
    with pytest.raises(BaseModelError, match="in use"):
        shelf.remove(cache, "llama")
    base.unload()
    assert sum(number.numel() for number in base.model.parameters()) == 0
    shelf.remove(cache, "llama")
    assert standing(cache) == []


def test_some_layers_on_the_gpu_leave_the_rest_on_the_cpu(llama, cache):
    model = base_model.load_dense(cache, source=str(llama)).model
    placed = devices(model, 2, "cuda")
    prefix, layers = decoder_layers(model)
    assert [placed[f"{prefix}.{number}"] for number in range(len(layers))] == ["cuda", "cuda", "cpu"]
    for name, _ in model.named_parameters():
        assert sum(name.startswith(f"{part}.") for part in placed) == 1


@pytest.mark.parametrize("dtype", ["float32", "nf4"])
def test_what_a_layer_is_given_is_brought_to_its_device(llama, cache, monkeypatch, dtype):
    """The same processor under two names stands in for two devices."""
    base, brought = base_model.load(cache, source=str(llama), dtype=dtype), []
    wanted, bring = logits(base), placement._bring

    def noted(device, *given):
        brought.append(device)
        return bring(device, *given)

    monkeypatch.setattr(placement, "_bring", noted)
    spread(base.model, devices(base.model, 1, "cpu:0"))
    assert (logits(base) == wanted).all()
    embeddings_rotary_and_first, norm_and_head = ["cpu:0"] * 3, ["cpu:0"] * 2
    assert brought == [*embeddings_rotary_and_first, "cpu", "cpu", *norm_and_head]


@pytest.mark.skipif("cuda" in base_model.best_device(), reason="there is a GPU")
def test_layers_on_a_gpu_that_is_not_there_are_refused(llama, cache):
    with pytest.raises(BaseModelError, match="finds no GPU"):
        base_model.load(cache, source=str(llama), gpu_layers=2)
    for all_or_none in (0, -1):
        assert base_model.load(cache, source=str(llama), gpu_layers=all_or_none).device == "cpu"


@pytest.fixture
def threads():
    import torch

    before = torch.get_num_threads()
    yield torch.get_num_threads
    torch.set_num_threads(before)


def test_the_settings_name_model_weights_and_threads(llama, cache, threads):
    local = Local(cache_directory=cache, base_model_path=str(llama), weights="fp32", threads=3)
    base = base_model.served(local)
    assert (base.name, base.quantised, base.threads, threads()) == ("llama", False, 3, 3)
    assert {str(number.dtype) for number in base.model.parameters()} == {"torch.float32"}


def test_without_a_setting_the_threads_are_measured(llama, cache, threads, monkeypatch):
    monkeypatch.setattr("workers.models.threads.limit", lambda: 2)
    base = base_model.served(Local(cache_directory=cache, base_model_path=str(llama)))
    assert base.threads == threads()
    assert base.threads in {1, 2}


def test_no_code_comes_from_the_network_even_where_kernels_is_installed(llama, cache, tmp_path):
    """A package that says when somebody imports it stands in for the real one."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text('raise SystemExit("somebody imports kernels")')
    (tmp_path / "kernels-0.14.0.dist-info").mkdir()
    about = "Metadata-Version: 2.1\nName: kernels\nVersion: 0.14.0\n"
    (tmp_path / "kernels-0.14.0.dist-info" / "METADATA").write_text(about)
    said = run_alone(
        f"""
from importlib.util import find_spec
from pathlib import Path
assert find_spec("kernels")
from workers.models import base
made = base.load(Path({str(cache)!r}), source={str(llama)!r}, dtype="nf4")
import torch
with torch.inference_mode():
    made.model(torch.tensor([[1]]))
from transformers.integrations import hub_kernels
assert not hub_kernels._kernels_enabled
assert not hub_kernels.is_kernels_available()
print("quiet")
""",
        PYTHONPATH=str(tmp_path),
    )
    assert (said.stdout.split()[-1:], said.returncode) == (["quiet"], 0), said.stderr
