"""What seeds stand for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from evertoken import Policy
from evertoken.testing import ClientPlan, Scenario, TokenFault, draw_scenario, simulate

DAY = 86_400.0


def test_long_runs_are_left_as_drawn_but_for_one_in_fifty_of_fair_weather() -> None:
    years = [draw_scenario(seed, seconds=365 * DAY) for seed in range(1_000)]
    fair = sum(not scenario.faults for scenario in years)
    assert 10 <= fair <= 30
    emphasised = sum(scenario.lifetime == 300 and scenario.token_fault_rate == 0.9 for scenario in years)
    assert emphasised == 0


def test_short_runs_stand_for_the_same_whatever_their_length() -> None:
    day, week = draw_scenario(7), draw_scenario(7, seconds=7 * DAY)
    assert (day.clients, day.rates, day.lifetime) == (week.clients, week.rates, week.lifetime)


def test_an_emphasis_that_cuts_the_lifetime_cuts_what_clients_assume_of_it() -> None:
    for seed in range(400):
        drawn = draw_scenario(seed)
        assert max(plan.policy.default_lifetime for plan in drawn.clients) <= drawn.lifetime


# What is no scenario
# -------------------


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"seed": -1}, "seed must be a whole number from 0 to 18446744073709551615"),
        ({"seed": 2**64}, "seed must be a whole number from 0 to 18446744073709551615"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": 7.0}, "seed must be a whole number"),
        ({"seconds": -1.0}, "seconds must be a finite number of seconds that is not negative"),
        ({"seconds": math.nan}, "seconds must be a finite number of seconds"),
        ({"lifetime": 0}, "lifetime must be a whole number of at least 1"),
        ({"clients": ()}, "clients must not be empty"),
    ],
    ids=str,
)
def test_a_scenario_that_nothing_could_follow_from_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(Scenario(seed=1), **fields)


def test_a_client_that_cannot_know_when_its_token_expires_is_refused() -> None:
    unsaid = Scenario(seed=1, lifetime=300, token_faults=(TokenFault.NO_EXPIRES_IN,))
    with pytest.raises(ValueError, match=r"client 0: default_lifetime is 300.0 s, but tokens live 60 s, and .*NO_EXP"):
        replace(unsaid, lifetime=60)
    assert replace(unsaid, lifetime=60, token_faults=(TokenFault.DRIP,)).lifetime == 60
    capped = ClientPlan(policy=Policy(max_lifetime=60.0))
    assert replace(unsaid, lifetime=60, clients=(capped,)).clients == (capped,)


def test_two_seeds_never_stand_for_one_course() -> None:
    assert draw_scenario(2**64 - 1) != draw_scenario(0)
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="seed must be a whole number from 0 to"):
            draw_scenario(seed)
        with pytest.raises(ValueError, match="seed must be a whole number from 0 to"):
            simulate(seed)


@pytest.mark.parametrize("scenario", ["7", 7.0, None])
def test_what_is_no_scenario_and_no_seed_is_refused(scenario: Any) -> None:  # noqa: ANN401 - anything at all
    with pytest.raises(TypeError, match="scenario must be a Scenario or a seed, not"):
        simulate(scenario)


@pytest.mark.parametrize("days", [-1.0, math.nan, math.inf, "1"])
def test_days_that_are_no_duration_are_refused(days: Any) -> None:  # noqa: ANN401 - anything at all
    with pytest.raises(ValueError, match="days must be a finite number that is not negative"):
        simulate(7, days=days)
    with pytest.raises(ValueError, match="seconds must be a finite number of seconds that is not negative"):
        draw_scenario(7, seconds=days)
