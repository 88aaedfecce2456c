"""The arithmetic of the budget, by what it has to come to: the laws of the kit use it, and do not work it out again."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest

from evertoken import Policy
from evertoken._policy import TICK, whole_ticks
from evertoken._schedule import charge, refill, retuned
from evertoken._states import NEVER, Budget

POLICY = Policy(budget_burst=4, budget_interval=30.0, budget_interval_floor=5.0)
FULL = Budget(4, NEVER, 30.0)
EVERY_SEED = pytest.mark.parametrize("seed", range(20))


def spent_at_once(budget: Budget, now: float) -> tuple[Budget, list[float]]:
    """All that is left at ``now``."""
    moments: list[float] = []
    budget = refill(POLICY, budget, now)
    while budget.level:
        budget = charge(POLICY, budget, now)
        moments.append(now)
    return budget, moments


def lives(seed: int) -> Iterator[tuple[Budget, float]]:
    """Budgets as a life comes across them, and the moments of that: claims, grants of any lifetime, and pauses."""
    drawn = random.Random(seed)
    budget, now = FULL, drawn.choice([0.0, -1e6, 2.0**30])
    for _ in range(200):
        now += drawn.choice([0.0, TICK, 2.5, 5.0, 30.0 - TICK, 30.0, drawn.randrange(200_000) * TICK])
        budget = refill(POLICY, budget, now)
        if drawn.random() < 0.3:
            budget = retuned(POLICY, budget, now, drawn.choice([1.0, 12.0, 25.0, 1_200.0]))
        elif budget.level:
            budget = charge(POLICY, budget, now)
        yield budget, now


def test_an_empty_bucket_is_refilled_to_the_tick_and_by_one() -> None:
    budget, moments = spent_at_once(FULL, 100.0)
    assert moments == [100.0] * 4
    for number in range(1, 4):
        due = 100.0 + 30.0 * number
        assert refill(POLICY, budget, due - TICK).level == number - 1
        assert refill(POLICY, budget, due).level == number
    assert refill(POLICY, budget, 219.0) == Budget(3, 220.0, 30.0)
    assert refill(POLICY, budget, 220.0) == FULL


def test_whoever_asks_as_fast_as_can_be_gets_the_burst_and_then_one_each_interval() -> None:
    budget, moments = spent_at_once(FULL, 0.0)
    for _ in range(50):
        budget, more = spent_at_once(budget, budget.refill_at)
        moments += more
    assert moments == [0.0] * 4 + [30.0 * number for number in range(1, 51)]


@EVERY_SEED
def test_no_window_has_more_than_the_burst_and_the_refills_in_it(seed: int) -> None:
    drawn, budget, now = random.Random(seed), FULL, 0.0
    moments: list[float] = []
    for _ in range(150):
        now += drawn.choice([0.0, TICK, 1.0, 5.0, 30.0, 100.0])
        budget = retuned(POLICY, budget, now, drawn.choice([1.0, 25.0, 1_200.0]))
        if refill(POLICY, budget, now).level:
            budget = charge(POLICY, budget, now)
            moments.append(now)
    for first, start in enumerate(moments):
        for last in range(first, len(moments)):
            refills = math.ceil((moments[last] - start) / POLICY.budget_interval_floor)
            assert last - first + 1 <= POLICY.budget_burst + refills


@EVERY_SEED
def test_a_refill_is_the_same_however_often_it_is_looked_at(seed: int) -> None:
    drawn = random.Random(-seed)
    for budget, now in lives(seed):
        half, later = now + drawn.randrange(60_000) * TICK, now + 60.0
        assert refill(POLICY, refill(POLICY, budget, min(half, later)), later) == refill(POLICY, budget, later)


@EVERY_SEED
def test_the_clock_of_a_bucket_runs_exactly_while_it_is_not_full(seed: int) -> None:
    for budget, now in lives(seed):
        assert 0 <= budget.level <= POLICY.budget_burst
        assert (budget.refill_at == NEVER) == (budget.level == POLICY.budget_burst)
        assert budget.refill_at > now
        assert budget.refill_at - now <= POLICY.budget_interval or budget.refill_at == NEVER


def test_a_charge_of_a_full_bucket_starts_its_clock_and_one_of_another_leaves_it() -> None:
    first = charge(POLICY, FULL, 1_000.0)
    assert first == Budget(3, 1_030.0, 30.0)
    assert charge(POLICY, first, 1_010.0) == Budget(2, 1_030.0, 30.0)
    assert charge(POLICY, first, 1_030.0) == Budget(3, 1_060.0, 30.0)


@pytest.mark.parametrize(
    ("lifetime", "interval"), [(1_200.0, 30.0), (60.0, 30.0), (25.0, 12.5), (10.0, 5.0), (1.0, 5.0)]
)
def test_a_lifetime_asks_for_half_of_it_between_refills_within_the_policys_bounds(
    lifetime: float, interval: float
) -> None:
    assert retuned(POLICY, FULL, 0.0, lifetime) == FULL._replace(interval=interval)


@EVERY_SEED
def test_tuning_brings_a_refill_forward_by_the_new_interval_and_never_back_and_refunds_nothing(seed: int) -> None:
    for budget, now in lives(seed):
        for lifetime in (1.0, 25.0, 1_200.0):
            tuned = retuned(POLICY, budget, now, lifetime)
            interval = whole_ticks(max(5.0, min(30.0, lifetime / 2)))
            assert (tuned.level, tuned.interval) == (budget.level, interval)
            later = refill(POLICY, budget, now + 45.0)
            assert retuned(POLICY, budget, now + 45.0, lifetime) == retuned(POLICY, later, now + 45.0, lifetime)
            assert tuned.refill_at == (NEVER if budget.refill_at == NEVER else min(budget.refill_at, now + interval))
