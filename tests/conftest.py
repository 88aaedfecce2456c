"""What every test gets: the canary's watch, and property tests that try the same examples in every run."""

from __future__ import annotations

import gc
import logging
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.kits.canary_plugin import (
    canary,
    capfd,
    capsys,
    pytest_collection_finish,
    pytest_configure,
    pytest_runtest_call,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
)
from tests.real.nursery import nursery

__all__ = (
    "canary",
    "capfd",
    "capsys",
    "nursery",
    "pytest_collection_finish",
    "pytest_configure",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
)


@pytest.fixture(scope="session", autouse=True)
def _quiet_exit() -> Generator[None]:
    """Nothing is left at the end of a run of which asyncio complains when the interpreter goes, after all is green."""
    yield
    complaints: list[str] = []
    listener = logging.Handler(logging.ERROR)
    listener.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("asyncio").addHandler(listener)
    gc.unfreeze()  # The canary puts what it has looked at out of the collector's sight.
    gc.collect()
    logging.getLogger("asyncio").removeHandler(listener)
    assert not complaints, f"a test of this run left behind: {complaints}"


CORE = Path(__file__).parent / "core"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The coverage of core is measured by its own tests alone; `-m` comes after this, and goes by the mark."""
    for item in items:
        if not item.path.is_relative_to(CORE):
            item.add_marker(pytest.mark.no_cover)


# `--hypothesis-profile=search` looks for new examples instead.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("search", max_examples=10_000, deadline=None, print_blob=True)
settings.load_profile("repeatable")
