"""Runs Python in a process of its own, which starts without torch and without what forbids the network."""

from __future__ import annotations

import os
import subprocess
import sys


def command(code: str, **variables: str) -> dict[str, object]:
    """What starts it: arguments for `subprocess.Popen`."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    return {"args": [sys.executable, "-c", code], "env": kept | variables}


def run_alone(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(**command(code, **variables), capture_output=True, text=True, timeout=120, check=False)
