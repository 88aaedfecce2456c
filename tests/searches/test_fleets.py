"""Fleets on virtual clocks, many seeds each: the figures that a store is for."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest

from evertoken.testing._random import Random
from tests.kits.fleet_days import Days, busiest, quantile
from tests.kits.fleet_world import EVERY_FAULT, breadth_first, first_world, plain_records, walk

SEEDS = range(500)


def test_with_the_store_dead_for_a_whole_life_a_fleet_asks_once_each_and_spread_out() -> None:
    for seed in range(50):
        days = Days(seed, 500, store_up=lambda now, _process: now < 100).run(1_300)
        lone = [sent for sent in days.sent if sent.lone]
        assert max(Counter(sent.process for sent in lone).values()) == 1
        assert busiest([sent.now for sent in lone]) <= 12
        assert len(days.served()) == 500


def test_a_cold_start_while_a_tenth_of_all_calls_fail_makes_one_request_or_two() -> None:
    requests = [len(Days(seed, 500, failing=0.1).run(15).sent) for seed in SEEDS]
    assert sum(count <= 2 for count in requests) >= 0.99 * len(requests)


def test_a_fleet_most_of_whose_hosts_are_turned_away_is_served_soon() -> None:
    first = [min(Days(seed, 50, endpoint=lambda _now, p: 403 if p < 45 else 200).run(60).served()) for seed in SEEDS]
    assert statistics.median(first) <= 7
    assert quantile(first, 0.99) <= 30


def test_an_outage_costs_few_requests_and_is_over_soon() -> None:
    fleets = [Days(seed, 50, endpoint=lambda now, _p: 503 if now < 20 else 200).run(80) for seed in SEEDS]
    assert statistics.median(len(fleet.sent) for fleet in fleets) <= 6
    assert quantile([min(fleet.served()) for fleet in fleets], 0.95) <= 20 + 25


@pytest.mark.parametrize(("processes", "faults"), [(2, 1), (2, 2), (3, 1)])
def test_no_world_within_reach_breaks_a_law(processes: int, faults: int) -> None:
    with plain_records():
        found = breadth_first(first_world(processes, faults), 30_000)
    assert found.law is None, found
    assert found.slowest <= 20
    assert found.starved <= 6


@pytest.mark.parametrize("seed", range(4))
def test_no_way_at_random_breaks_a_law(seed: int) -> None:
    random = Random(seed)
    with plain_records():
        for _ in range(1_500):
            found = walk(first_world(3, 6, EVERY_FAULT), random, random.pick((20, 40, 80, 150)))
            assert found.law is None, found
            assert found.slowest <= 20
            assert found.starved <= 6
