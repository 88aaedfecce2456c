"""The seeds that the documentation and docstrings show as hostile are hostile; one that has fair weather says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from evertoken import testing as core_testing
from evertoken.testing import Scenario, WorldFault, draw_scenario, simulate
from evertoken_transports import testing
from evertoken_transports.testing import simulate_source
from evertoken_transports.tools import cli
from evertoken_transports.tools._simulate.choices import Choices
from tests.kits.pages import text_of

pytestmark = pytest.mark.usefixtures("unlogged")

PROMISED = {WorldFault.LOST_BEFORE, WorldFault.LATE, WorldFault.OUTAGE, WorldFault.ABANDONED}


def kinds(situations: Iterable[str]) -> set[str]:
    return {situation.partition(":")[0] for situation in situations}


def seed_in(text: str | None, function: str) -> int:
    (seed,) = re.findall(rf"\b{function}\((\d+)[,)]", text or "")
    return int(seed)


def documented_scenario() -> Scenario:
    (command,) = re.findall(r"`evertoken simulate (--seed [^`]*)`", text_of("evidence"))
    words = command.split()
    options = dict(zip(words[::2], words[1::2], strict=True))
    choices = Choices(float(options["--days"]), int(options["--clients"]), options.get("--faults", "swarm"))
    return choices.scenario(int(options["--seed"]))


def test_the_command_of_the_documentation_has_hostile_weather() -> None:
    scenario = documented_scenario()
    assert set(dict(scenario.rates)) >= PROMISED
    report = simulate(replace(scenario, seconds=43_200.0, clients=scenario.clients[:3]))
    assert report.ok
    assert kinds(report.seen) >= {"fault", "API"}


def test_the_seed_that_the_core_shows_has_faults_of_every_kind() -> None:
    report = simulate(draw_scenario(seed_in(core_testing.__doc__, "simulate")))
    assert report.ok
    assert kinds(report.seen) >= {"fault", "token endpoint", "API"}


def test_the_seed_that_is_shown_for_a_source_has_faults_of_every_kind() -> None:
    report = simulate_source(seed_in(testing.__doc__, "simulate_source"), "trio")
    assert report.ok
    assert kinds(report.seen) >= {"network", "world", "token", "api"}


@pytest.mark.parametrize(("faults", "is_fair"), [("swarm", True), ("none", True), ("all", False), ("crash", False)])
def test_the_summary_says_so_if_no_fault_was_drawn(
    faults: str,
    is_fair: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["simulate", "--seed", "7", "--days", "0.001", "--faults", faults, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert ("faults drawn    none; with --faults all this seed has every one of them\n" in out) == is_fair
    assert ("world faults" in out) != is_fair
