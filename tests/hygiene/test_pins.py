"""The pins are whole: whatever pip, on whatever day, nothing is left for it to look for."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.environments.pins import PINS, Pin, applicable, gaps, needed_by, read_pins
from tests.kits.source_tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEXT = PINS.read_text(encoding="utf-8")
EVERY_PIN = read_pins(TEXT)
HERE = applicable(EVERY_PIN)


def roots() -> list[Requirement]:
    """What pyproject.toml asks for on this Python: to run, to build, and by every extra."""
    texts = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    texts += [text for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra]
    wanted = [Requirement(text) for text in texts]
    return [one for one in wanted if one.name != "evertoken" and (one.marker is None or one.marker.evaluate())]


def gaps_after(old: str, new: str) -> list[str]:
    """What pip would miss if the pins held ``new`` in place of ``old``."""
    assert old in TEXT
    return list(gaps(applicable(read_pins(TEXT.replace(old, new))), roots()))


def test_every_pin_is_exact_and_carries_hashes() -> None:
    def is_exact(pin: Pin) -> bool:
        specifier = pin.requirement.specifier
        return [one.operator for one in specifier] == ["=="] and "*" not in str(specifier)

    assert EVERY_PIN
    assert not [str(pin.requirement) for pin in EVERY_PIN if not is_exact(pin)]
    assert not [
        pin.name for pin in EVERY_PIN if not pin.hashes or not all(one.startswith("sha256:") for one in pin.hashes)
    ]


def test_the_pins_name_no_index_and_no_place() -> None:
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in lines if "://" in line or " @ " in line or line.startswith(("-", "/", "."))]


def test_whatever_is_asked_for_is_pinned_with_the_extras_and_in_the_release_that_are_asked_for() -> None:
    assert not list(gaps(HERE, roots()))


def test_what_a_package_asks_for_by_an_extra_is_missed_where_the_extra_is_not_pinned() -> None:
    """So it was once: pip before 23.3 took ``coverage[toml]`` for another package than ``coverage``."""
    found = gaps_after("coverage[toml]==", "coverage==")
    assert [gap.split(" ")[0] for gap in found] == ["pyproject.toml", "pytest-cov"]
    assert all(" asks for coverage[toml]>=" in gap and ", which is pinned as coverage==" in gap for gap in found)


@pytest.mark.parametrize(
    ("old", "new", "asker"),
    [("h11==", "h12==", "httpcore"), ("h11==", "h11==0.0.", "httpcore"), ("sniffio==", "sniff==", "trio")],
    ids=["a package", "a release", "a package that only another package asks for"],
)
def test_what_is_not_pinned_or_not_in_a_release_that_is_asked_for_is_missed(old: str, new: str, asker: str) -> None:
    assert [gap for gap in gaps_after(f"\n{old}", f"\n{new}") if gap.startswith(f"{asker} asks for ")]


def test_a_pin_of_what_is_not_installed_is_told() -> None:
    assert "h12 is pinned, and not installed" in gaps_after("\nh11==", "\nh12==")


def test_an_extra_brings_all_that_is_asked_for_by_what_it_brings() -> None:
    names = {pin.name for pin in needed_by([Requirement("httpx>=0.27")], HERE)}
    assert names - {"typing-extensions"} == {"anyio", "certifi", "h11", "httpcore", "httpx", "idna"}


def test_a_package_is_pinned_once_for_each_python() -> None:
    names = [pin.name for pin in EVERY_PIN if pin.requirement.marker is None]
    assert len(names) == len(set(names))
    assert all(name == canonicalize_name(name) for name in names)
