"""A large fleet over hours, on virtual clocks: how many requests it makes, and how soon all have a token."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest

from tests.kits.fleet_days import Days, busiest

LIFE = 1_200.0

pytestmark = pytest.mark.no_cover


def test_in_fair_weather_a_fleet_makes_one_request_for_each_life_of_a_token() -> None:
    days = Days(1, 50).run(3_600)
    assert len(days.served()) == 50
    assert max(days.served()) < 2
    assert len(days.sent) == 4
    assert not any(sent.lone for sent in days.sent)
    assert days.calls <= 6 * 50 * 4


def test_a_deploy_that_restarts_everything_makes_no_request() -> None:
    days = Days(2, 50).run(300)
    for number in range(50):
        days.restart(number)
    days.run(600)
    assert len(days.served()) == 50
    assert len(days.sent) == 1


def test_with_the_store_dead_for_a_whole_life_each_process_asks_once_and_not_all_in_one_second() -> None:
    days = Days(3, 200, store_up=lambda now, _process: now < 100).run(100 + LIFE)
    lone = [sent for sent in days.sent if sent.lone]
    assert len(days.sent) == 1 + len(lone)
    assert max(Counter(sent.process for sent in lone).values()) == 1
    assert busiest([sent.now for sent in lone]) <= 0.025 * 200


def test_with_a_store_for_each_host_and_one_for_all_the_fleet_makes_one_request_for_each_life() -> None:
    days = Days(8, 60, hosts=4, tiers=2).run(3_600)
    assert len(days.served()) == 60
    assert max(days.served()) < 3
    assert len(days.sent) == 4


def test_with_the_store_of_the_fleet_dead_each_host_asks_once_in_a_life() -> None:
    days = Days(9, 60, hosts=4, tiers=2, store_up=lambda now, _process: now < 100).run(100 + LIFE)
    lone = [sent for sent in days.sent if sent.lone]
    assert len(days.sent) == 1 + len(lone)
    assert max(Counter(sent.process % 4 for sent in lone).values()) == 1


def test_with_the_store_of_the_fleet_dead_the_hosts_do_not_all_ask_in_one_second() -> None:
    days = Days(10, 200, hosts=100, tiers=2, store_up=lambda now, _process: now < 100).run(100 + LIFE)
    lone = [sent for sent in days.sent if sent.lone]
    assert max(Counter(sent.process % 100 for sent in lone).values()) == 1
    assert busiest([sent.now for sent in lone]) <= 0.04 * 200


def test_a_cold_start_while_a_tenth_of_all_calls_fail_makes_hardly_more_than_one_request() -> None:
    days = Days(4, 300, failing=0.1).run(15)
    assert len(days.served()) == 300
    assert len(days.sent) <= 2


def test_a_fleet_most_of_whose_hosts_are_turned_away_finds_the_one_that_is_not() -> None:
    first = [min(Days(seed, 50, endpoint=lambda _now, p: 403 if p < 45 else 200).run(60).served()) for seed in range(9)]
    assert statistics.median(first) <= 7
    assert max(first) <= 30


def test_an_outage_costs_a_fleet_few_requests_and_it_is_back_soon_after() -> None:
    fleets = [Days(seed, 50, endpoint=lambda now, _p: 503 if now < 20 else 200).run(70) for seed in range(9)]
    assert statistics.median(len(fleet.sent) for fleet in fleets) <= 6
    assert max(min(fleet.served()) for fleet in fleets) <= 20 + 32
    assert all(len(fleet.served()) == 50 for fleet in fleets)


def test_a_lock_is_knocked_at_by_one_of_the_fleet_as_rarely_as_by_one_process() -> None:
    days = Days(5, 10, endpoint=lambda now, _p: 400 if now < 3_000 else 200).run(6_400)
    assert [round(sent.now / 10) for sent in days.sent] == [0, 90, 270, 630]
    assert len(days.served()) == 10
    assert max(days.served()) < days.sent[-1].now + 60


def test_a_fleet_in_crash_loops_knocks_at_a_lock_once() -> None:
    days = Days(6, 20, endpoint=lambda _now, _p: 400)
    for round_ in range(1, 11):
        days.run(60.0 * round_)
        for number in range(20):
            days.restart(number)
    assert len(days.sent) == 1


def test_a_fleet_that_is_cut_off_from_its_store_in_turn_restarts_and_meets_failures_stays_served() -> None:
    def up(now: float, process: int) -> bool:
        return int(now / 400) % 5 != process % 5  # A fifth is cut off at a time.

    def endpoint(now: float, _process: int) -> int:
        return 503 if int(now) % 3_600 < 60 else 200

    days = Days(7, 20, store_up=up, endpoint=endpoint)
    for hour in range(1, 7):
        days.run(3_600.0 * hour)
        for number in range(hour % 2, 20, 2):
            days.restart(number)
    lives = 6 * 3_600 / (LIFE - 30)
    assert len([sent for sent in days.sent if not sent.lone]) <= 4 * lives
    per_life = Counter((sent.process, int(sent.now / (LIFE * 0.75))) for sent in days.sent if sent.lone)
    assert max(per_life.values(), default=0) <= 2
