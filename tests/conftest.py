"""Fixtures: a line of real workers for a whole module, a bare broker, and the check that no key leaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.harness import Harness, harness
from tests.support.keys import leaked


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """The whole line with an echo in the model's place; no Redis key may outlive its purpose."""
    with harness(tmp_path_factory.mktemp("line")) as made:
        made.start("guardrail", "router", "gpu", "upkeep")
        yield made
        assert leaked(made.redis) == []


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A broker with keys and an open flag, and no worker."""
    with harness(tmp_path_factory.mktemp("broker")) as made:
        yield made
        assert leaked(made.redis) == []
