"""The pins of ``requirements-dev.txt`` as data, and what pip would miss among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ("PINS", "Pin", "applicable", "asked_for_by", "gaps", "needed_by", "read_pins")

PINS = Path(__file__).resolve().parents[2] / "requirements-dev.txt"


class Pin(NamedTuple):
    """One release, and the files that it may be."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The package's name in its one spelling."""
        return canonicalize_name(self.requirement.name)

    @property
    def line(self) -> str:
        """The pin as pip reads it."""
        return " ".join([str(self.requirement), *(f"--hash={one}" for one in self.hashes)])


def read_pins(text: str) -> list[Pin]:
    """Every pin of a file in the format of pip's requirements."""
    logical = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    return [_read(line) for line in logical.splitlines() if line.strip()]


def _read(line: str) -> Pin:
    requirement, *hashes = re.split(r"\s+--hash=", line.strip())
    return Pin(Requirement(requirement), tuple(hashes))


def applicable(pins: Iterable[Pin]) -> dict[str, Pin]:
    """The pins that hold for this Python and platform, by name."""
    return {pin.name: pin for pin in pins if _holds(pin.requirement)}


def _holds(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def asked_for_by(requirement: Requirement) -> list[Requirement]:
    """What the installed package that ``requirement`` names asks for here, with the extras that it names.

    Raises:
        PackageNotFoundError: the package is not installed.
    """
    wanted = [Requirement(text) for text in requires(requirement.name) or []]
    chosen = [one for extra in ("", *sorted(requirement.extras)) for one in wanted if _holds(one, extra)]
    return list({str(one): one for one in chosen}.values())


def gaps(pins: Mapping[str, Pin], roots: Iterable[Requirement]) -> Iterator[str]:
    """Whatever ``roots`` and the pinned packages ask for, and no pin gives: where some pip would go and look itself.

    Old releases of pip take a pin without an extra for another package than the one with it, and look for its newest
    release; that has no hash, so that the day of that release is the last on which they install anything.
    """
    for root in roots:
        yield from _missed("pyproject.toml", root, pins)
    for pin in pins.values():
        try:
            wanted = asked_for_by(pin.requirement)
        except PackageNotFoundError:
            yield f"{pin.name} is pinned, and not installed"
            continue
        for one in wanted:
            yield from _missed(pin.name, one, pins)


def _missed(asker: str, wanted: Requirement, pins: Mapping[str, Pin]) -> Iterator[str]:
    pin = pins.get(canonicalize_name(wanted.name))
    if pin is None:
        yield f"{asker} asks for {wanted}, which is not pinned"
        return
    version = next(iter(pin.requirement.specifier)).version
    if not wanted.specifier.contains(version, prereleases=True):
        yield f"{asker} asks for {wanted}, and {version} is pinned"
    if wanted.extras - pin.requirement.extras:
        yield f"{asker} asks for {wanted}, which is pinned as {pin.requirement}"


def needed_by(roots: Iterable[Requirement], pins: Mapping[str, Pin]) -> list[Pin]:
    """The pins of ``roots`` and of all that those ask for, by name."""
    found: dict[str, Pin] = {}
    left = list(roots)
    while left:
        wanted = left.pop()
        pin = pins[canonicalize_name(wanted.name)]
        if pin.name not in found:
            found[pin.name] = pin
            left += asked_for_by(pin.requirement)
    return [found[name] for name in sorted(found)]
