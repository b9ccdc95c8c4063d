"""Base models that are fetched: from a folder, from a hub on this machine, and never by accident."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="base models need the extra [local]")

from tests.support.alone import command, run_alone
from tests.support.hub import hub
from tests.support.tiny import write_gguf, write_model
from workers.models import base as base_model
from workers.models import shelf

OUTSIDE = ("tokenizer/../../../outside.json", "../tokenizer-outside.json", "/tmp/tokenizer-outside.json")  # noqa: S108
FETCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background inherit that it is ignored
from switchtower.cli import main
sys.argv[1:] = {words!r}
main()
"""


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def folder(llama, tmp_path):
    """A model that may be changed."""
    return Path(shutil.copytree(llama, tmp_path / "changed"))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def standing(cache):
    """Everything in the cache but its locks."""
    return sorted(file.name for file in cache.glob("*") if file.name != ".locks") if cache.exists() else []


def test_a_folder_is_fetched_under_a_name_and_served_by_it(switchtower, llama, cache, monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_LOCAL__CACHE_DIRECTORY", str(cache))
    wrong = switchtower("models", "fetch", str(llama), "--name", "mine", "--sha256", "0" * 64)
    assert wrong.code == 1
    assert "not the one you named" in wrong.err
    assert standing(cache) == []
    right = hashlib.sha256((llama / "model.safetensors").read_bytes()).hexdigest()
    assert right in switchtower("models", "fetch", str(llama), "--name", "mine", "--sha256", right).out
    monkeypatch.setenv("SWITCHTOWER_LOCAL__BASE_MODEL_PATH", "mine")
    assert switchtower("models", "fetch").code == 0
    assert base_model.load(cache, source="mine").name == "mine"


def asked_of(cache, endpoint, *words):
    """The code and the variables of a process that fetches."""
    code = FETCH.format(words=["models", "fetch", "somebody/small", "--online", *words])
    return code, {"HF_ENDPOINT": endpoint, "SWITCHTOWER_LOCAL__CACHE_DIRECTORY": str(cache)}


def fetch(cache, endpoint, *words):
    code, variables = asked_of(cache, endpoint, *words)
    return run_alone(code, **variables)


def test_a_model_comes_from_a_hub_without_its_code_and_pickles(folder, cache):
    for stranger in ("pytorch_model.bin", "modeling_mine.py"):
        (folder / stranger).write_text("evil")
    with hub(folder) as made:
        run = fetch(cache, made.url)
        assert run.returncode == 0, run.stderr
        assert not [path for path in made.asked if path.endswith((".bin", ".py"))]
    found = {one.form: one.origin for one in shelf.stored(cache)}
    assert found["dense"].startswith("somebody/small@0123456789abcdef")
    assert base_model.load(cache, source="small", dtype="bfloat16").name == "small"
    assert standing(cache) == ["small"]


def test_a_hub_that_sends_something_else_than_it_says_is_not_believed(folder, cache):
    with hub(folder) as made:
        made.lies = True
        run = fetch(cache, made.url)
    assert run.returncode == 1
    assert "not what the hub says it is" in run.stderr
    assert standing(cache) == []


def test_without_a_network_it_says_how_to_bring_the_model(cache):
    run = fetch(cache, "http://127.0.0.1:9")
    assert run.returncode == 1
    assert "models fetch FOLDER" in run.stderr
    assert standing(cache) == []


def test_what_a_hub_does_not_have_is_named(folder, cache):
    with hub(folder) as made:
        run = fetch(cache, made.url, "--revision", "v9")
    assert run.returncode == 1
    assert "no somebody/small at v9" in run.stderr


def test_a_gguf_file_of_a_hub_is_chosen_by_its_name(tmp_path, cache):
    (tmp_path / "files").mkdir()
    write_gguf(tmp_path / "files" / "small-q8.gguf")
    with hub(tmp_path / "files") as made:
        run = fetch(cache, made.url)
        assert run.returncode == 1
        assert "--file one of small-q8.gguf" in run.stderr
        assert fetch(cache, made.url, "--file", "small-q8.gguf").returncode == 0
    assert standing(cache) == ["small"]


def test_a_hubs_file_names_do_not_lead_out_of_the_folder(folder, cache, tmp_path):
    with hub(folder) as made:
        made.also = [{"type": "file", "path": name, "rfilename": name, "size": 1, "oid": "0"} for name in OUTSIDE]
        assert fetch(cache, made.url).returncode == 0
        assert fetch(cache, made.url, "--file", OUTSIDE[0]).returncode == 1
        assert not [path for path in made.asked if path.endswith("outside.json")]
    assert not list(tmp_path.rglob("*outside*"))


def test_ctrl_c_in_the_middle_of_a_download_leaves_nothing(folder, cache):
    asked, go_on = threading.Event(), threading.Event()
    with hub(folder) as made:
        made.hold = lambda: asked.set() or go_on.wait(60)
        code, variables = asked_of(cache, made.url)
        with subprocess.Popen(**command(code, **variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
            assert asked.wait(60)
            run.send_signal(signal.SIGINT)
            said, _ = run.communicate(timeout=60)
            go_on.set()
    assert run.returncode == 130, said
    assert standing(cache) == []
