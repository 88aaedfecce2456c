"""What every test gets: the canary's watch, and property tests that try the same examples in every run."""

from __future__ import annotations

from hypothesis import settings

from tests.canary_plugin import (
    canary,
    capfd,
    capsys,
    pytest_collection_finish,
    pytest_runtest_call,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
)

__all__ = (
    "canary",
    "capfd",
    "capsys",
    "pytest_collection_finish",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
)

# `--hypothesis-profile=search` looks for new examples instead.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("search", max_examples=10_000, deadline=None, print_blob=True)
settings.load_profile("repeatable")
