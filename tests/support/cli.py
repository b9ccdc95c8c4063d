"""The command line, run in this process as if by hand."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from switchtower.cli import main
from switchtower.settings import settings


@dataclass(frozen=True)
class Run:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


class CommandLine:
    """Calls `switchtower …` and catches what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str) -> Run:
        self._monkeypatch.setattr(sys, "argv", ["switchtower", *words])
        self._monkeypatch.setenv("COLUMNS", "200")
        settings.cache_clear()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            settings.cache_clear()
        said = self._capsys.readouterr()
        return Run(code, said.out, said.err)
