"""Compiled databases on disk: kept for the next process, and trusted only where nobody else can have put them."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from security.matching import shelf
from tests.support.wait import until

scanner = pytest.importorskip("security.matching.scanner")

NAME = "0" * 64
PATTERNS = ("needle", "thread")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shelf of this test's own, on which everything is worth keeping."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(scanner, "_WORTH_KEEPING_S", -1)
    return shelf.folder()


def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that are compiled from now on."""
    names: list[str] = []
    real = scanner._compiled

    def counting(name: str, patterns: list[bytes]) -> object:
        names.append(name)
        return real(name, patterns)

    monkeypatch.setattr(scanner, "_compiled", counting)
    return names


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith("lock-")]


def test_what_was_compiled_once_is_loaded(folder, monkeypatch):
    first, names = scanner.Scanner(PATTERNS), compiled(monkeypatch)
    again = scanner.Scanner(PATTERNS)
    assert names == []
    assert first.search("a thread") == again.search("a thread") == {1}
    (file,) = kept(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_other_patterns_order_or_library_are_other_databases(folder, monkeypatch):
    for patterns in (PATTERNS, PATTERNS[::-1], ("needlethread",)):
        scanner.Scanner(patterns)
    monkeypatch.setattr(scanner, "version", lambda _: "another")
    scanner.Scanner(PATTERNS)
    monkeypatch.setattr(scanner, "_platform", lambda: "another")
    scanner.Scanner(PATTERNS)
    assert len(kept(folder)) == 5


def test_what_compiles_in_no_time_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(scanner, "_WORTH_KEEPING_S", 60)
    scanner.Scanner(PATTERNS)
    assert kept(folder) == []


def damage(data: bytes) -> list[bytes]:
    """The file in ways that it must not be read in; the last has a right digest and no database."""
    flipped = data[:100] + bytes([data[100] ^ 1]) + data[101:]
    foreign = hashlib.sha256(b"not a database").digest() + b"not a database"
    return [flipped, data[:-1], data[:31], b"", foreign]


@pytest.mark.parametrize("way", range(5))
def test_a_damaged_or_foreign_file_is_compiled_again(folder, monkeypatch, way):
    scanner.Scanner(PATTERNS)
    (file,) = kept(folder)
    file.write_bytes(damage(file.read_bytes())[way])
    names = compiled(monkeypatch)
    assert scanner.Scanner(PATTERNS).search("needle") == {0}
    assert names == [file.name]
    scanner.Scanner(PATTERNS)
    assert names == [file.name]


def test_a_file_that_others_may_write_is_not_read(folder):
    shelf.keep(NAME, b"database")
    assert shelf.fetch(NAME) == b"database"
    (folder / NAME).chmod(0o620)
    assert shelf.fetch(NAME) is None


def test_a_link_is_not_followed(folder, tmp_path):
    shelf.keep(NAME, b"database")
    (folder / NAME).rename(tmp_path / "elsewhere")
    (folder / NAME).symlink_to(tmp_path / "elsewhere")
    assert shelf.fetch(NAME) is None


@pytest.mark.parametrize("mode", [0o777, 0o702, 0o720, 0o1777])
def test_a_folder_that_others_may_write_is_not_used(folder, mode):
    shelf.keep(NAME, b"database")
    folder.chmod(mode)
    assert shelf.fetch(NAME) is None
    shelf.keep(NAME[:-1] + "1", b"database")
    assert len(kept(folder)) == 1


def test_a_folder_that_everybody_could_replace_is_not_used(folder):
    shelf.keep(NAME, b"database")
    folder.parent.chmod(0o777)
    assert shelf.fetch(NAME) is None
    folder.parent.chmod(0o1777)
    assert shelf.fetch(NAME) == b"database"


def test_what_somebody_else_owns_is_not_read(monkeypatch):
    shelf.keep(NAME, b"database")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert shelf.fetch(NAME) is None


def test_without_a_folder_rules_are_compiled_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert scanner.Scanner(PATTERNS).search("needle") == {0}


def test_a_write_that_fails_leaves_nothing_behind(folder, monkeypatch):
    shelf.keep(NAME, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    shelf.keep(NAME, b"new")
    assert shelf.fetch(NAME) == b"old"
    assert len(kept(folder)) == 1


def test_the_files_used_last_stay(folder, monkeypatch):
    monkeypatch.setattr(shelf, "_KEPT", 3)
    for number in range(4):
        shelf.keep(f"{number:064}", b"database")
        os.utime(folder / f"{number:064}", (number, number))
    assert shelf.fetch(f"{1:064}") == b"database"
    shelf.keep(f"{9:064}", b"database")
    assert {path.name[-1] for path in kept(folder)} == {"1", "3", "9"}


def test_the_same_is_compiled_by_one_at_a_time():
    inside, order = threading.Event(), []

    def second() -> None:
        inside.wait(10)
        with shelf.turn(NAME):
            order.append("second")

    waiting = threading.Thread(target=second)
    waiting.start()
    with shelf.turn(NAME):
        inside.set()
        with shelf.turn("1" * 64):
            order.append("other patterns need not wait")
        order.append("first")
    waiting.join(10)
    assert order == ["other patterns need not wait", "first", "second"]


def test_nobody_waits_for_ever(monkeypatch):
    monkeypatch.setattr(shelf, "_PATIENCE_S", 0.1)
    with shelf.turn(NAME), shelf.turn(NAME):
        pass


def test_a_fork_does_not_keep_the_turn():
    with shelf.turn(NAME):
        child = os.fork()
        if not child:
            threading.Event().wait(30)
            os._exit(0)
    try:
        taken = threading.Event()

        def take() -> None:
            with shelf.turn(NAME):
                taken.set()

        threading.Thread(target=take).start()
        until(taken.is_set, "the turn", seconds=5)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
