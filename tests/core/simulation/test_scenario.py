"""What seeds stand for."""

from __future__ import annotations

from evertoken.testing import draw_scenario

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
