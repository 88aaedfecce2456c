"""The counts of all stories are written down at the end of a run in which all was well, if that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.embedders.table import page


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", type=Path, help="write the counts of all stories to this file")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    target: Path | None = session.config.getoption("--write-table")
    if target is not None and exitstatus == 0:
        target.write_text(page(), encoding="utf-8")
