"""Fixtures of the audit's tests: one database for a module, an empty trail for each test."""

from __future__ import annotations

import pytest

from tests.support.trail import ground


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with ground(tmp_path_factory.mktemp("audit")) as made:
        yield made


@pytest.fixture
def trail(shared, monkeypatch):
    with shared.fresh(monkeypatch) as made:
        yield made
