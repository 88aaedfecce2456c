"""Simulated worlds of more seeds, clients and faults than a test of every day has time for."""

from __future__ import annotations

import pytest

from evertoken.testing import simulate
from evertoken.testing.world._arranged import EVERY_FAULT, Fault, arrange_scenario
from evertoken.testing.world._scenario import DAY
from evertoken.testing.world._swarm import explain_failure, swarm
from tests.kits.driver_bugs import Shop, breaches


def test_sixty_seeds_break_no_law_and_meet_every_situation() -> None:
    report = swarm(range(60))
    assert not report.failures, explain_failure(report.failures[0])
    assert not report.missing


@pytest.mark.parametrize(("clients", "faults"), [(6, None), (None, EVERY_FAULT), (3, EVERY_FAULT), (20, None)])
def test_no_arranged_scenario_breaks_a_law(clients: int | None, faults: tuple[Fault, ...] | None) -> None:
    for seed in range(20):
        assert simulate(arrange_scenario(seed, seconds=DAY / 20, clients=clients, faults=faults)).ok


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_the_driver_of_the_example_breaks_no_rule(first: int) -> None:
    found = {seed: breaches(Shop, seed) for seed in range(first, first + 20)}
    assert not {seed: said for seed, said in found.items() if said}
