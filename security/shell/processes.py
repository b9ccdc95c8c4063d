"""Commands that stop processes by their numbers."""

from __future__ import annotations

from security.shell import dangers
from security.shell.call import Call
from security.shell.handlers import handles
from security.shell.walker import Walker


@handles("kill")
def _kill(walker: Walker, call: Call) -> str:
    signal, targets = _sorted(call.words)
    if "-1" in targets or ("1" in targets and signal.upper().removeprefix("SIG") in {"9", "KILL"}):
        walker.report(dangers.KILL_ALL, call.name)
    return ""


def _sorted(words: list[str]) -> tuple[str, list[str]]:
    """The signal and the processes; `-1` in the first place is the signal HUP."""
    if words[:1] in (["-s"], ["-n"]) and len(words) > 1:
        signal, rest = words[1], words[2:]
    elif words and words[0][:1] == "-" and words[0] != "--":
        signal, rest = words[0][1:], words[1:]
    else:
        signal, rest = "TERM", words
    return signal, [word for word in rest if word != "--"]
