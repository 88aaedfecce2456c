"""A fresh interpreter for long runs, which is not slowed down by what measures the coverage of this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import evertoken

__all__ = ("in_a_fresh_interpreter",)


def in_a_fresh_interpreter(script: str, **environment: str) -> str:
    """What ``script`` prints in a fresh interpreter, which has ``environment`` besides this one's variables."""
    path = str(Path(evertoken.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return run.stdout
