"""The wheel holds the light package and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {path.name for path in (ROOT / "switchtower/scripts").glob("*.lua")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with ZipFile(built) as opened:
        yield opened


def test_only_our_own_package_is_in_it(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"switchtower"}
    assert len(tops) == 2


def test_every_file_of_the_package_is_in_it(wheel):
    ours = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "switchtower").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours == {name for name in wheel.namelist() if name.startswith("switchtower/")}


def test_the_type_marker_and_the_scripts_are_in_it(wheel):
    names = set(wheel.namelist())
    assert "switchtower/py.typed" in names
    assert SCRIPTS
    assert {f"switchtower/scripts/{name}" for name in SCRIPTS} <= names


def test_the_license_and_the_command_are_in_it(wheel):
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "switchtower = switchtower.cli:main" in wheel.read(entry_points).decode()
    assert [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]


def test_the_package_needs_no_model_and_no_provider(wheel):
    (metadata,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    needed = [
        line.split()[1]
        for line in wheel.read(metadata).decode().splitlines()
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]
    assert not [name for name in needed if name.startswith(("torch", "transformers", "openai", "anthropic", "psycopg"))]


def test_the_wheel_works_alone(wheel, tmp_path):
    """Outside the checkout, with nothing of ours but the wheel: it imports, and says what needs a checkout."""
    wheel.extractall(tmp_path)
    code = (
        "import sys; sys.path = [p for p in sys.path if p != sys.argv[1]]; sys.path.insert(0, sys.argv[2]);"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in type(f).__module__.lower()];"
        "import switchtower, switchtower.cli; assert switchtower.__file__.startswith(sys.argv[2]);"
        "sys.argv = ['switchtower', 'worker', 'gpu']; switchtower.cli.main()"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code, str(ROOT), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("ConfigurationError: ")
    assert "needs a checkout" in run.stderr.replace("\n", " ")
