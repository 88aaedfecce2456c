"""What is drawn of runs that are longer, and of more clients, than a test of every day has time for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kits.simulating import ran


def test_a_long_run_of_many_clients_is_no_picture_of_megabytes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    svg = tmp_path / "picture.svg"
    many = ("--seed", "32", "--days", "2", "--clients", "20", "--svg", str(svg), "--quiet")
    assert ran(capsys, *many)[0] == 0
    assert svg.stat().st_size < 600_000
    assert re.search(
        r"Stretches under 6 min are drawn together, as a stack of their shares: [0-9,]{5,} of", svg.read_text()
    )
