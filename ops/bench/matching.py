"""What it costs to read a text in all its views and to match all rules, and what the rules cost to load and to keep.

The texts are this project's own documents and code in pieces of 16 KB of ASCII. Times are CPU times of the process; of
each text the best of five counts, since other processes share the caches. A text that was never seen before is dearer,
for RE2 by much, which makes its states while it reads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from report import Row, finish, parser

from security.guardrails import Guardrail
from security.matching import engines
from security.packs import RulePack
from security.rulebook import Rulebook
from switchtower.models import Surface

ROOT = Path(__file__).resolve().parents[2]
PIECE = 16_384
AIM_MS, AIM_SHORT_US = 0.1, 50
SHORT = "What is the capital of France, and who built its tower?"
_TEXTS = {
    "documents": ("*.md", "docs/*.md", "ops/bench/*.md"),
    "code": ("switchtower/**/*.py", "workers/*.py", "tasks/*.py"),
}


def speed() -> tuple[list[Row], dict[str, Any]]:
    """The rows of the table, and all figures: ms per 16 KB, µs per short text, seconds and megabytes to load."""
    texts = {name: _pieces(patterns) for name, patterns in _TEXTS.items()}
    everything = [piece for pieces in texts.values() for piece in pieces]
    figures: dict[str, Any] = {"pieces": {name: len(pieces) for name, pieces in texts.items()}}
    figures |= _judging(texts, everything) | _matching(everything) | _loading()
    return _rows(figures), figures


def _pieces(patterns: Iterable[str]) -> list[str]:
    files = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    text = "\n".join(path.read_text() for path in files).encode("ascii", "ignore").decode()
    return [text[start : start + PIECE] for start in range(0, len(text) - PIECE, PIECE)]


def _judging(texts: dict[str, list[str]], everything: list[str]) -> dict[str, Any]:
    """Normalise and match, as the guardrail does it."""
    guardrail = Guardrail(RulePack.load())
    by_surface = {surface: _ms(lambda text, on=surface: guardrail.judge(text, on), everything) for surface in Surface}
    by_text = {name: _ms(lambda text: guardrail.judge(text, Surface.INPUT), pieces) for name, pieces in texts.items()}
    short = _ms(lambda text: guardrail.judge(text, Surface.INPUT), [SHORT] * 1000)["median"] * 1000
    return {"judge_ms": by_surface, "judge_input_ms": by_text, "judge_short_us": short}


def _matching(everything: list[str]) -> dict[str, Any]:
    """One scan of each text by each engine, the first time and again."""
    rules = RulePack.load().rules
    found = {}
    for engine in engines():
        search = Rulebook(rules, engine)._pages[Surface.INPUT]._matcher.search
        found[engine] = {"first_ms": _ms(search, everything, times=1), "again_ms": _ms(search, everything)}
    return {"match_ms": found}


def _ms(work: Callable[[str], object], texts: list[str], times: int = 5) -> dict[str, float]:
    """Milliseconds of CPU per text."""
    taken = [min(_once(work, text) for _ in range(times)) for text in texts]
    return {"median": median(taken), "mean": sum(taken) / len(taken), "p90": quantiles(taken, n=10)[-1]}


def _once(work: Callable[[str], object], text: str) -> float:
    started = time.process_time_ns()
    work(text)
    return (time.process_time_ns() - started) / 1e6


def _loading() -> dict[str, Any]:
    """Time to load, and memory held, in processes of their own."""
    with tempfile.TemporaryDirectory() as cache:
        places = {"compiled": cache, "kept": cache}
        return {
            "load": {name: _child("hyperscan", place) for name, place in places.items()} | {"re2": _child("re2", cache)}
        }


def _child(engine: str, cache: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", engine]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, env=os.environ | {"XDG_CACHE_HOME": cache, "PYTHONPATH": paths}, check=True, capture_output=True
    )
    return dict(json.loads(done.stdout))


def _load(engine: str) -> dict[str, float]:
    """Load the rules in this process and judge some texts; seconds, and megabytes more than before."""
    texts, before, started = _pieces(_TEXTS["documents"]), _resident_mb(), time.perf_counter()
    pack = RulePack.load()
    book = pack.book if engine == "hyperscan" else Rulebook(pack.rules, engine)
    loaded, at_rest = time.perf_counter() - started, _resident_mb() - before
    for text in texts:
        for surface in Surface:
            book.hits(text, surface)
    return {"seconds": loaded, "at_rest_mb": at_rest, "used_mb": _resident_mb() - before}


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _rows(figures: dict[str, Any]) -> list[Row]:
    judged, texts, short = figures["judge_ms"], figures["judge_input_ms"], figures["judge_short_us"]
    return [
        *(_aimed(f"normalise + match 16 KB, {surface}", judged[surface], surface) for surface in Surface),
        *(Row(f"the same, input, {name}", _said(found)) for name, found in texts.items()),
        Row("judge a prompt of a line", f"{short:.1f} µs", f"<= {AIM_SHORT_US} µs", short <= AIM_SHORT_US),
        *(_engine(name, found) for name, found in figures["match_ms"].items()),
        *(_loaded(name, found) for name, found in figures["load"].items()),
    ]


def _aimed(what: str, found: dict[str, float], surface: Surface) -> Row:
    if surface is Surface.COMMAND:  # a command of 16 KB is none
        return Row(what, _said(found))
    return Row(what, _said(found), f"median <= {AIM_MS} ms", found["median"] <= AIM_MS)


def _said(found: dict[str, float]) -> str:
    return f"{found['median']:.3f} ms (mean {found['mean']:.3f}, p90 {found['p90']:.3f})"


def _engine(name: str, found: dict[str, dict[str, float]]) -> Row:
    said = f"{found['first_ms']['median']:.3f} ms, again {found['again_ms']['median']:.3f} ms"
    return Row(f"{name}: all rules for input, 16 KB never seen", said)


def _loaded(name: str, found: dict[str, float]) -> Row:
    what = {"compiled": "load, nothing kept", "kept": "load, databases kept", "re2": "load and compile for RE2"}[name]
    said = f"{found['seconds']:.2f} s; {found['at_rest_mb']:.0f} MB, {found['used_mb']:.0f} MB in use"
    return Row(what, said)


def main() -> int:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--child", choices=["hyperscan", "re2"], help="load only, and print what it took")
    said = arguments.parse_args()
    if said.child:
        sys.stdout.write(json.dumps(_load(said.child)))
        return 0
    rows, figures = speed()
    return finish("Normalising and matching", rows, figures, said.json)


if __name__ == "__main__":
    raise SystemExit(main())
