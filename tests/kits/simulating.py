"""Running ``evertoken simulate`` in a test, and reading what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evertoken_transports.tools import cli

__all__ = ("COMMIT", "HOUR", "ran", "read")

HOUR = "0.04"
COMMIT = "00000000000000110123456789abcdef01234567"  # The seed that is made of it is 17.


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run ``evertoken simulate``. Returns its exit status, what it printed, and what it complained of."""
    status = cli.main(["simulate", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def read(path: Path) -> dict[str, Any]:
    """A file of JSON."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data
