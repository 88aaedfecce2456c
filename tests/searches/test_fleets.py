"""Fleets on virtual clocks, many seeds each: the figures that a store is for."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest

from evertoken.testing._random import Random
from tests.kits.fleet_days import Days, Sent, busiest, quantile
from tests.kits.fleet_world import EVERY_FAULT, breadth_first, first_world, plain_records, walk

SEEDS = range(500)
SIZE = 500


def hosts(sent: list[Sent], count: int) -> Counter[int]:
    """How many of these exchanges each host has made."""
    return Counter(each.process % count for each in sent)


def without_store(seed: int, count: int, tiers: int) -> list[Sent]:
    """What a fleet on so many hosts asks while its store is dead for a whole life. Nobody is without a token then."""
    days = Days(seed, SIZE, hosts=count, tiers=tiers, store_up=lambda now, _process: now < 100).run(1_300)
    assert len(days.served()) == SIZE
    assert all(member.machine.authorization(1_300) is not None for member in days.members)
    lone = [sent for sent in days.sent if sent.lone]
    assert len(days.sent) == 1 + len(lone)
    return lone


def test_with_the_store_dead_for_a_whole_life_a_fleet_asks_once_each_and_spread_out() -> None:
    worst = list[int]()
    for seed in SEEDS:
        lone = without_store(seed, SIZE, 1)
        assert set(hosts(lone, SIZE).values()) == {1}
        worst.append(busiest([sent.now for sent in lone]))
    # They are drawn over 270 s, one by one: that a second of one fleet in 200 has more is chance, and no herd.
    assert quantile(worst, 0.99) <= 0.02 * SIZE
    assert max(worst) <= 0.025 * SIZE


@pytest.mark.parametrize("count", [25, SIZE])
def test_with_the_second_tier_dead_for_a_whole_life_each_host_asks_once_and_not_all_at_once(count: int) -> None:
    worst = list[int]()
    for seed in SEEDS:
        lone = without_store(seed, count, 2)
        assert set(hosts(lone, count).values()) == {1}
        assert len(lone) == count
        worst.append(busiest([sent.now for sent in lone]))
    assert quantile(worst, 0.99) <= 0.02 * SIZE
    assert max(worst) <= 0.025 * SIZE


def test_a_cold_start_while_a_tenth_of_all_calls_fail_makes_one_request_or_two() -> None:
    requests = list[int]()
    for seed in SEEDS:
        days = Days(seed, SIZE, failing=0.1).run(15)
        assert len(days.served()) == SIZE
        requests.append(len(days.sent))
    assert sum(count <= 2 for count in requests) >= 0.99 * len(requests)


def test_a_fleet_most_of_whose_hosts_are_turned_away_is_served_soon() -> None:
    first = [min(Days(seed, 50, endpoint=lambda _now, p: 403 if p < 45 else 200).run(60).served()) for seed in SEEDS]
    assert statistics.median(first) <= 7
    assert quantile(first, 0.99) <= 30


def test_an_outage_costs_few_requests_and_is_over_soon() -> None:
    requests, first = list[int](), list[float]()
    for seed in SEEDS:
        days = Days(seed, 50, endpoint=lambda now, _p: 503 if now < 20 else 200).run(80)
        requests.append(len(days.sent))
        first.append(min(days.served()))
    assert statistics.median(requests) <= 6
    assert quantile(first, 0.95) <= 20 + 25


def test_a_thousand_processes_over_two_days_of_cuts_deploys_and_dead_stores_ask_hardly_more_than_one() -> None:
    hour, size, life = 3_600.0, 1_000, 1_200.0
    deaths = [7 * hour, 29 * hour]  # From then on the store is dead for as long as a token lives.

    def up(now: float, process: int) -> bool:
        cut = int(now / hour) % 4 == 2 and process % 10 == int(now / 600) % 10  # A tenth at a time, every fourth hour.
        return not cut and not any(dead <= now < dead + life for dead in deaths)

    days, deploys = Days(11, size, store_up=up), 0
    for hours in range(1, 49):
        days.run(hour * hours)
        assert all(member.machine.authorization(days.now) is not None for member in days.members)
        if hours % 8 == 0:  # A deploy restarts everything.
            deploys += 1
            for number in range(size):
                days.restart(number)
    assert deploys == 6
    shared, lone = ([sent for sent in days.sent if sent.lone is way] for way in (False, True))
    # One for each life, which is renewed 30 s before its end, and one when the store is back.
    assert len(shared) <= 48 * hour / (life - 30) + len(deaths)
    for dead in deaths:
        assert busiest([sent.now for sent in lone if dead <= sent.now < dead + life]) <= 0.025 * size
    last = dict[int, float]()
    for sent in lone:  # No process asks alone before three quarters of the life of what it was granted so.
        assert sent.now - last.get(sent.process, -life) >= 0.75 * life
        last[sent.process] = sent.now
    # Once for each death, and for each of the cuts, of which a process meets six in ten of the twelve hours.
    assert len(lone) <= (len(deaths) + 0.6 * 12) * size


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
