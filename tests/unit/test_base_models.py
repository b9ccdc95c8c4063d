"""Base models before any of them is loaded: what is meant, what is refused, what the cache knows, who uses it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from switchtower.errors import BaseModelError
from workers.models import manifest, shelf, threads
from workers.models.base import NAME, BaseModel
from workers.models.holder import Holder, State
from workers.models.manifest import Manifest
from workers.models.progress import Overheard, Progress
from workers.models.source import INDEX, WEIGHTS, resolve, weights_of

SILENT = Progress()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_LOCAL__CACHE_DIRECTORY", str(tmp_path / "cache"))
    monkeypatch.setenv("SWITCHTOWER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def put(cache: Path, name="small", form="dense", **files: bytes) -> Path:
    """A form in the cache as it stands there once it was made."""
    folder = cache / name / form
    folder.mkdir(parents=True)
    for file, content in (files or {"weights": b"numbers"}).items():
        (folder / file).write_bytes(content)
    stamps = manifest.stamped(folder.iterdir(), SILENT)
    made = Manifest(name=name, form=form, context_tokens=64, origin="here", source=stamps, files=stamps)
    manifest.write(folder, made)
    return folder


def test_nothing_said_means_the_built_in_model(cache, monkeypatch):
    monkeypatch.setattr("workers.models.builtin.gguf", lambda: Path("in/its/wheel.gguf"))
    assert [resolve(cache, said).kind for said in (None, NAME)] == ["wheel", "wheel"]


def test_the_built_in_model_needs_no_wheel_once_it_is_in_the_cache(cache, monkeypatch):
    monkeypatch.setattr("workers.models.builtin.gguf", lambda: pytest.fail("nobody needs the wheel"))
    put(cache, NAME)
    assert [resolve(cache, said).kind for said in (None, NAME)] == ["cache", "cache"]


def test_a_word_names_a_model_in_the_cache_before_it_names_a_folder(cache, tmp_path):
    (tmp_path / "small").mkdir()
    assert resolve(cache, "small").kind == "folder"
    put(cache)
    assert resolve(cache, "small").kind == "cache"


def test_a_folder_and_a_file_are_called_by_their_names(cache, tmp_path):
    (tmp_path / "Llama-3.2 (1B)").mkdir()
    (tmp_path / "Qwen_Q4.gguf").write_bytes(b"GGUF")
    assert resolve(cache, str(tmp_path / "Llama-3.2 (1B)")).name == "llama-3.2-1b"
    assert resolve(cache, str(tmp_path / "Qwen_Q4.gguf")).name == "qwen-q4"
    assert resolve(cache, "Qwen_Q4.gguf", "mine").name == "mine"


def test_the_built_in_models_name_is_not_given_away(cache, tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(BaseModelError, match="--name"):
        resolve(cache, str(tmp_path / NAME))


@pytest.mark.parametrize(
    ("said", "told"),
    [("nosuch", "one of small, smollm2"), ("somebody/model", "fetch somebody/model --online"), ("..", "no name")],
)
def test_what_is_not_there_is_named_with_a_way_out(cache, said, told):
    put(cache)
    with pytest.raises(BaseModelError, match=told):
        resolve(cache, said, "." if said == ".." else None)


def test_a_file_that_is_no_gguf_is_refused(cache, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"PK\3\4 something else")
    with pytest.raises(BaseModelError, match="no GGUF file"):
        resolve(cache, "model.gguf")


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_pickles_are_refused_and_never_read(tmp_path, pickle):
    (tmp_path / pickle).write_bytes(b"cos\nsystem\n")
    with pytest.raises(BaseModelError, match="pickles"):
        weights_of(tmp_path)


def test_safetensors_beside_a_pickle_are_taken_without_it(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    (tmp_path / WEIGHTS).write_bytes(b"")
    assert weights_of(tmp_path) == [tmp_path / WEIGHTS]


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ('{"weight_map": {"a": "../../secret.safetensors"}}', "no safetensors file of this folder"),
        ('{"weight_map": {"a": "model.bin"}}', "no safetensors file of this folder"),
        ('{"weight_map": {"a": 7}}', "no safetensors file of this folder"),
        ('{"weight_map": {"a": "model-1.safetensors"}}', "model-1.safetensors is missing"),
        ('{"weight_map": {}}', "lists no weights"),
        ("[]", "not a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_an_index_may_only_name_safetensors_that_lie_beside_it(tmp_path, index, told):
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(BaseModelError, match=told):
        weights_of(tmp_path)


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(BaseModelError, match="is this the model's folder"):
        weights_of(tmp_path)


def test_the_hash_of_several_files_is_that_of_the_list_that_sha256sum_prints(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(name.encode())
    stamps = manifest.stamped(tmp_path.iterdir(), SILENT)
    one = {name: hashlib.sha256(name.encode()).hexdigest() for name in "ab"}
    assert manifest.digest({"a": stamps["a"]}) == one["a"]
    assert manifest.digest(stamps) == hashlib.sha256(f"{one['a']}  a\n{one['b']}  b\n".encode()).hexdigest()


def test_what_was_made_is_found_unchanged(cache):
    folder = put(cache, weights=b"numbers", config=b"{}")
    assert manifest.checked(folder).files.keys() == {"weights", "config"}
    assert manifest.verify(folder, SILENT).sha256 == manifest.checked(folder).sha256


def test_a_copied_cache_is_hashed_once_and_stamped_anew(cache):
    folder = put(cache)
    os.utime(folder / "weights", ns=(0, 0))
    assert manifest.checked(folder).files["weights"].mtime_ns == 0
    assert manifest.read(folder).files["weights"].mtime_ns == 0


def spoil_longer(folder):
    (folder / "weights").write_bytes(b"longer than before")


def spoil_same_size(folder):
    (folder / "weights").write_bytes(b"NUMBERS")
    os.utime(folder / "weights", ns=(0, 0))


def spoil_more(folder):
    (folder / "adapter_config.json").write_text("{}")


def spoil_less(folder):
    (folder / "weights").unlink()


def spoil_manifest(folder):
    (folder / manifest.FILE).write_text("{")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoil_longer, "changed weights"),
        (spoil_same_size, "changed weights"),
        (spoil_more, "adapter_config.json, which nobody put there"),
        (spoil_less, "lacks weights"),
        (spoil_manifest, "has no manifest.json"),
    ],
)
def test_a_changed_cache_is_refused_with_the_file_that_changed(cache, spoil, told):
    folder = put(cache)
    spoil(folder)
    with pytest.raises(BaseModelError, match=f"{told}.*models rm small"):
        manifest.checked(folder)


def test_only_a_full_hash_finds_a_change_that_hides_its_time(cache, switchtower):
    folder = put(cache)
    before = (folder / "weights").stat().st_mtime_ns
    (folder / "weights").write_bytes(b"NUMBERS")
    os.utime(folder / "weights", ns=(before, before))
    assert manifest.checked(folder)
    run = switchtower("models", "verify", "small")
    assert run.code == 1
    assert "changed weights" in run.err


def test_verify_says_when_all_is_well_and_when_there_is_nothing(cache, switchtower):
    put(cache)
    assert "as it was" in switchtower("models", "verify").out
    run = switchtower("models", "verify", "nosuch")
    assert run.code == 1
    assert run.err.startswith("BaseModelError: ")


def test_the_list_shows_what_stands_in_the_cache(cache, switchtower):
    put(cache)
    put(cache, form="nf4")
    said = switchtower("models", "list").out
    assert said.count("small") == 2
    assert hashlib.sha256(b"numbers").hexdigest()[:12] in said


def test_a_model_in_use_is_not_removed(cache, switchtower):
    put(cache)
    hold = shelf.Hold(cache, "small")
    run = switchtower("models", "rm", "small", "--yes")
    assert run.code == 1
    assert "in use" in run.err
    hold.release()
    assert "is gone" in switchtower("models", "rm", "small", "--yes").out
    assert not shelf.stored(cache)


def test_two_may_use_a_model_and_both_must_let_go(cache):
    put(cache)
    first, second = shelf.Hold(cache, "small"), shelf.Hold(cache, "small")
    first.release()
    with pytest.raises(BaseModelError, match="in use"):
        shelf.remove(cache, "small")
    del second
    assert shelf.remove(cache, "small") == len(b"numbers")


def test_removing_asks_first(cache, switchtower, monkeypatch):
    put(cache)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: (_ for _ in ()).throw(SystemExit(1)))
    assert switchtower("models", "rm", "small").code == 1
    assert shelf.stored(cache)


@pytest.mark.parametrize("name", ["nosuch", "../..", ".locks", ""])
def test_only_a_models_name_is_removed(cache, name):
    put(cache)
    with pytest.raises(BaseModelError):
        shelf.remove(cache, name)
    assert shelf.stored(cache)


@pytest.mark.usefixtures("cache")
def test_the_network_is_used_only_when_asked_for(switchtower):
    run = switchtower("models", "fetch", "somebody/model")
    assert run.code == 1
    assert "--online" in run.err


@pytest.mark.parametrize(
    ("times", "chosen"),
    [({1: 1.0, 2: 0.5, 4: 0.3}, 4), ({1: 1.0, 2: 0.95}, 1), ({1: 1.0, 2: 10.0}, 1), ({1: 1.0, 2: 0.5, 4: 0.49}, 2)],
)
def test_a_thread_more_must_be_worth_it(times, chosen):
    assert threads.fastest(times) == chosen


@pytest.mark.parametrize(
    ("quota", "told", "most"), [("max 100000", "", 8), ("200000 100000", "", 2), ("50000 100000", "", 1), ("", "3", 3)]
)
def test_no_more_threads_than_the_container_and_openmp_allow(tmp_path, monkeypatch, quota, told, most):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert threads.limit() == most


def test_a_worker_is_calm_before_torch_is_there():
    """OpenMP reads its policy once, when torch is imported."""
    asked = """
import os, sys, typer
from tasks.commands import run_worker
try:
    run_worker("nosuch")
except typer.BadParameter:
    print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
"""
    free = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    said = subprocess.run([sys.executable, "-c", asked], env=free, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["PASSIVE", "False"]


def test_the_bar_of_a_reader_is_heard():
    heard = []
    progress = Progress()
    progress.advance = lambda done, total: heard.append((done, total))
    stream = Overheard(progress)
    for text in ("Converting:  50%|#####     | 3/6 [00:01<00:01]", "\n", "6/6"):
        stream.write(text)
    assert heard == [(3, 6), (6, 6)]


class Fake(BaseModel):
    """A base model without numbers."""

    def unload(self):
        pass


def fake(_: Progress = SILENT) -> BaseModel:
    return Fake(model=None, tokenizer=None, device="cpu", quantised=False)


def test_a_holder_goes_round_and_says_so():
    states = []
    holder = Holder(fake, states.append)
    for _ in range(2):
        assert holder.load() is holder.base
        holder.unload()
    assert states == [State.LOADING, State.LOADED, State.UNLOADING, State.UNLOADED] * 2


def test_loading_twice_loads_once():
    made = []
    holder = Holder(lambda progress: made.append(fake(progress)) or made[-1])
    assert holder.load() is holder.load()
    assert len(made) == 1


def test_whoever_comes_while_it_loads_waits_for_the_same_model():
    begun, go_on, got = threading.Event(), threading.Event(), []

    def slow(progress):
        begun.set()
        assert go_on.wait(10)
        return fake(progress)

    holder = Holder(slow)
    callers = [threading.Thread(target=lambda: got.append(holder.load())) for _ in range(3)]
    for one in callers:
        one.start()
    assert begun.wait(10)
    assert holder.state is State.LOADING
    with pytest.raises(BaseModelError, match="loading"):
        _ = holder.base
    go_on.set()
    for one in callers:
        one.join(10)
    assert got == [holder.base] * 3
    assert len({id(one) for one in got}) == 1


def test_an_error_is_kept_until_the_next_load():
    results = [BaseModelError("no room for it"), None]

    def sometimes(progress):
        if failed := results.pop(0):
            raise failed
        return fake(progress)

    holder = Holder(sometimes)
    with pytest.raises(BaseModelError, match="no room"):
        holder.load()
    assert holder.state is State.UNLOADED
    with pytest.raises(BaseModelError, match="no room"):
        _ = holder.base
    holder.load()
    assert holder.error is None


def test_what_still_computes_is_drained_before_the_model_goes():
    holder, seen = Holder(fake), []
    base = holder.load()
    holder.unload(lambda: seen.append((holder.state, holder.base is base)))
    assert seen == [(State.UNLOADING, True)]
    assert holder.state is State.UNLOADED
    holder.unload(lambda: pytest.fail("there is nothing to drain"))


def test_a_failed_drain_leaves_the_model_loaded():
    holder = Holder(fake)
    holder.load()
    with pytest.raises(RuntimeError, match="busy"):
        holder.unload(lambda: (_ for _ in ()).throw(RuntimeError("busy")))
    assert holder.state is State.LOADED
    assert holder.base
