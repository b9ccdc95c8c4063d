"""How long an answer's tokens wait to be let out, and what judging them costs.

DIR holds JSON lines, `benign_*.jsonl` with `text`; each text plays an answer. A token is at most six characters and the
space before them. *Whole text* judges all that is written so far at every token and lets the token out; *window* is
what the line does; *fixed hold* lets nothing out but what is so many characters back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import re2
from report import Row, finish, parser

from security.guardrails import Guardrail
from security.packs import RulePack
from security.window import Onset, Window
from switchtower.models import Surface
from switchtower.settings import Security
from tasks.release import onset_of

_TOKEN = re2.compile(r"(?s)\s?\S{1,6}|\s")
_UNKNOWN = r"\Q\E"
"""A pattern whose beginnings are not known."""
_FIXED = 256
_LENGTHS = (4_000, 16_000, 32_000)


class Refused(Exception):
    """The guardrail lets this text not pass; such a text is left out."""


@dataclass
class Found:
    """How many tokens later each token was out, and the first; microseconds of CPU per token."""

    waits: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def said(self) -> str:
        cuts = quantiles(self.waits, n=100)
        return (
            f"first out after {median(self.first):.0f} tokens; each waits {median(self.waits):.0f}, mean "
            f"{mean(self.waits):.1f}, p95 {cuts[94]:.0f}, p99 {cuts[98]:.0f}; {mean(self.cpu):.0f} µs per token"
        )


class Whole:
    """Judges all of the text so far, every time."""

    def __init__(self, judge: Callable[[str], None]) -> None:
        self._judge, self._text = judge, ""

    def feed(self, text: str) -> str:
        self._text += text
        self._judge(self._text)
        return text

    def close(self) -> str:
        return ""


Make = Callable[[], Window | Whole]


def answers(folder: Path, most: int) -> list[list[str]]:
    """The texts in tokens."""
    texts: list[str] = []
    for path in sorted(folder.glob("benign_*.jsonl")):
        texts += [json.loads(line)["text"] for line in path.read_text().split("\n") if line][:most]
    return [_TOKEN.findall(text) for text in texts if text.strip()]


def play(tokens: list[str], made: Window | Whole, found: Found) -> None:
    """Feed an answer, and note when each token was out."""
    began = time.thread_time()
    outs = [*(len(made.feed(token)) for token in tokens), len(made.close())]
    found.cpu.append((time.thread_time() - began) / len(tokens) * 1e6)
    out = end = place = 0
    for now, length in enumerate(outs):
        out += length
        while place < len(tokens) and (end + len(tokens[place])) <= out:
            end += len(tokens[place])
            found.waits.append(now - place)
            found.first += [now + 1] if place == 0 else []
            place += 1


def long(texts: list[list[str]], characters: int) -> list[str]:
    """One answer of about this length, put together from others."""
    tokens, length = [], 0
    while length < characters:
        for text in texts:
            tokens += [*text, "\n"]
            length += sum(map(len, text)) + 1
            if length >= characters:
                break
    return tokens


def compared(ways: dict[str, Make], texts: list[list[str]]) -> dict[str, Found]:
    """Every answer in every way."""
    found = {name: Found() for name in ways}
    for tokens in texts:
        for name, make in ways.items():
            try:
                play(tokens, make(), found[name])
            except Refused:
                continue
    return found


def main() -> int:
    """Run the bench."""
    options = parser(__doc__)
    options.add_argument("--test", type=Path, required=True, metavar="DIR", help="the texts")
    options.add_argument("--texts", type=int, default=40, help="of each set")
    said = options.parse_args()
    guardrail, hold = Guardrail(RulePack.load()), Security().release_hold_chars

    def judge(text: str) -> None:
        if not guardrail.judge(text, Surface.OUTPUT).passed:
            raise Refused

    onset, unknown = onset_of(guardrail), Onset([_UNKNOWN])
    ways: dict[str, Make] = {
        "whole text": lambda: Whole(judge),
        f"window, hold {hold}": lambda: Window(judge, onset, hold),
        f"fixed hold {_FIXED}": lambda: Window(judge, unknown, _FIXED),
    }
    texts = answers(said.test, said.texts)
    found = compared(ways, texts)
    rows = [Row(name, one.said()) for name, one in found.items()]
    figures: dict[str, Any] = {name: {"cpu_us": mean(one.cpu), "wait": mean(one.waits)} for name, one in found.items()}
    for length in _LENGTHS:
        costs = {name: mean(one.cpu) for name, one in compared(ways, [long(texts, length)]).items() if one.cpu}
        rows.append(Row(f"µs per token of {length:,} characters", ", ".join(f"{n}: {c:.0f}" for n, c in costs.items())))
        figures[str(length)] = costs
    return finish("release of answers", rows, figures, said.json)


if __name__ == "__main__":
    raise SystemExit(main())
