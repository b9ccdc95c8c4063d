"""Coverage-guided fuzzing (Atheris) of what reads strangers' bytes: `python ops/fuzz/fuzz.py shell --seconds 60`.

A finding is written into `tests/corpus/<target>/`, where `make test` replays it from then on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["security", "switchtower.envelope", "switchtower.messages"]):
    from tests.support.fuzzed import TARGETS

CORPUS = ROOT / "tests" / "corpus"


def main() -> None:
    """Fuzz one target for a bounded time; exit code 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    said = parser.parse_args()
    seeds = CORPUS / said.target
    seeds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="switchtower-fuzz-") as grown:
        limits = [f"-max_total_time={said.seconds}", "-max_len=8192", "-timeout=10", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={seeds}/", grown, str(seeds)], TARGETS[said.target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
