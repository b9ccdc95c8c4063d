"""What the guardrail catches, what it takes for an attack that is none, and what it costs.

DIR holds labelled sets as JSON lines (`jailbreak_*`, `injection_*`, `indirect_*`, `benign_*`, `harmful_*`, `shell_*`):
id, text, label, group. Without --train the weights that ship are judged on all of --test. With it, weights are trained
on that folder first, and once more without each attack set; where both folders are the same, on one half of each set
and judged on the other.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import injection
from report import Row, finish, parser

from security.injection.fitting import STEPS

PARTS = ("shell", "injection", "speed")


def shell(test: Path) -> tuple[list[Row], dict[str, Any]]:
    """Commands, by `shell.py`."""
    found: tuple[list[Row], dict[str, Any]] = import_module("shell").measure(test)
    return found


def speed() -> tuple[list[Row], dict[str, Any]]:
    """Normalising and matching, by `matching.py`."""
    found: tuple[list[Row], dict[str, Any]] = import_module("matching").speed()
    return found


def main() -> int:
    """Run the parts that were asked for."""
    arguments = parser(__doc__)
    arguments.add_argument("--test", type=Path, required=True, metavar="DIR", help="labelled sets to judge")
    arguments.add_argument("--train", type=Path, metavar="DIR", help="train on these instead of judging what ships")
    arguments.add_argument("--only", choices=PARTS, action="append", help="leave the other parts out")
    arguments.add_argument("--steps", type=int, default=STEPS, help="of gradient descent, per training")
    arguments.add_argument("--no-leave-out", action="store_true", help="train once, not once more per attack set")
    said = arguments.parse_args()
    wanted = said.only or PARTS
    rows: list[Row] = []
    figures: dict[str, Any] = {}
    for part in PARTS:
        if part in wanted:
            found, figures[part] = _part(part, said)
            rows += found
    return finish("The guardrail", rows, figures, said.json)


def _part(part: str, said: Any) -> tuple[list[Row], dict[str, Any]]:
    if part == "shell":
        return shell(said.test)
    if part == "speed":
        return speed()
    return injection.judge(said.test, said.train, leave_out=not said.no_leave_out, steps=said.steps)


if __name__ == "__main__":
    raise SystemExit(main())
