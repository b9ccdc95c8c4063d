"""Watching rule files: what changed is read once it stands still, once, and a broken pack is reported once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from security.guardrails import Guardrail
from security.packs import RulePack
from switchtower.errors import RuleError
from switchtower.models import Surface
from tasks.reload import RuleWatch
from tests.support.rules import RULE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "pack.toml"
    made.write_text(RULE.format(name="one_word", word="apple"))
    return made


@pytest.fixture
def guardrail(file: Path) -> Guardrail:
    return Guardrail(RulePack.load([file.parent]))


@pytest.fixture
def errors() -> list[RuleError]:
    return []


@pytest.fixture
def watch(guardrail: Guardrail, errors: list[RuleError]) -> RuleWatch:
    return RuleWatch(guardrail, 1, errors.append)


def refuses(guardrail: Guardrail, text: str) -> bool:
    return not guardrail.judge(text, Surface.INPUT).passed


def counted(guardrail: Guardrail, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each reload from now on."""
    reloads: list[None] = []
    real = guardrail.reload
    monkeypatch.setattr(guardrail, "reload", lambda: (reloads.append(None), real())[1])
    return reloads


def test_nothing_is_read_while_nothing_changes(watch, guardrail, monkeypatch):
    reloads = counted(guardrail, monkeypatch)
    for _ in range(5):
        watch.look()
    assert not reloads


def test_a_change_is_read_once_when_it_stands_still(watch, guardrail, file, monkeypatch):
    reloads = counted(guardrail, monkeypatch)
    file.write_text(RULE.format(name="one_word", word="pear"))
    watch.look()
    assert not reloads
    for _ in range(3):
        watch.look()
    assert len(reloads) == 1
    assert refuses(guardrail, "pear")
    assert not refuses(guardrail, "apple")


def test_a_file_that_is_still_being_written_is_left_alone(watch, guardrail, file, errors, monkeypatch):
    reloads = counted(guardrail, monkeypatch)
    for length in range(10, 100, 10):
        file.write_text(RULE.format(name="one_word", word="pear")[:length])
        watch.look()
    assert not reloads
    assert not errors


def test_a_broken_pack_is_reported_once_and_the_old_one_stays(watch, guardrail, file, errors):
    before = guardrail.pack.hash
    file.write_text(RULE.format(name="one_word", word="(pear"))
    for _ in range(5):
        watch.look()
    assert [str(error).startswith(f"{file}:3: ") for error in errors] == [True]
    assert guardrail.pack.hash == before
    assert refuses(guardrail, "apple")
    file.write_text(RULE.format(name="one_word", word="plum"))
    for _ in range(2):
        watch.look()
    assert refuses(guardrail, "plum")


def test_files_may_come_and_go(watch, guardrail, file, errors):
    (file.parent / "more.toml").write_text(RULE.format(name="another_word", word="plum"))
    for _ in range(2):
        watch.look()
    assert refuses(guardrail, "plum")
    assert refuses(guardrail, "apple")
    file.unlink()
    for _ in range(2):
        watch.look()
    assert not refuses(guardrail, "apple")
    (file.parent / "more.toml").unlink()
    for _ in range(2):
        watch.look()
    assert "would pass everything" in str(errors)
    assert refuses(guardrail, "plum")


def test_a_change_between_reading_and_watching_is_seen(guardrail, file, errors):
    file.write_text(RULE.format(name="one_word", word="plum"))
    watch = RuleWatch(guardrail, 1, errors.append)
    for _ in range(2):
        watch.look()
    assert refuses(guardrail, "plum")


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_seen(watch, guardrail, file):
    before = file.stat()
    other = file.with_suffix(".new")
    other.write_text(RULE.format(name="one_word", word="grape"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert file.stat().st_size == before.st_size
    for _ in range(2):
        watch.look()
    assert refuses(guardrail, "grape")
