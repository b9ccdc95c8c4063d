"""What fuzzing has found, or might have: each file of the corpus is replayed against its target."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fuzzed import TARGETS

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file() and path.name != "README.md")


def test_every_target_has_seeds():
    assert {path.parent.name for path in FILES} == set(TARGETS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_corpus_holds(path):
    TARGETS[path.parent.name](path.read_bytes())
