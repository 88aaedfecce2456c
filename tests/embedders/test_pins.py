"""What is pinned for these tests is whole, and what is tried here is what is pinned."""

from __future__ import annotations

from importlib.metadata import version

import urllib3._version
from packaging.requirements import Requirement

from tests.environments.pins import applicable, gaps, read_pins
from tests.kits.source_tree import ROOT

HERE = applicable(read_pins((ROOT / "requirements-embedders.txt").read_text(encoding="utf-8")))
ROOTS = [
    Requirement(line)
    for line in (ROOT / "tests/embedders/requirements.in").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_whatever_is_asked_for_is_pinned_with_the_extras_and_in_the_release_that_are_asked_for() -> None:
    assert not list(gaps(HERE, ROOTS))


def test_every_package_is_the_one_that_is_pinned() -> None:
    assert not {name for name, pin in HERE.items() if version(name) not in pin.requirement.specifier}


def test_urllib3_is_not_overwritten_by_the_fork_that_niquests_brings() -> None:
    assert urllib3._version.__version__ == version("urllib3")
