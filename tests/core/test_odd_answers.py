"""Odd answers, row by row, and then two oddities at a time."""

from __future__ import annotations

import pytest

from evertoken import outcomes
from tests.kits import canary
from tests.kits.odd_answers import DIMENSIONS, PAIRS, UNCHECKED, Odd, assert_pairs, meaning_of, outcome_of, rows


def name_of(row: Odd) -> str:
    value = hex(row.value) if isinstance(row.value, int) and abs(row.value) > 2**64 else str(row.value)
    return f"{row.dimension}={ascii(value).replace(canary.token(), 'TOKEN').replace(canary.secret(), 'SECRET')[1:60]}"


def test_the_table_has_eight_dimensions_and_more_with_at_least_25_values_each() -> None:
    assert len(DIMENSIONS) >= 8
    for name, dimension in DIMENSIONS.items():
        values = [row.value for row in dimension]
        assert len(set(values)) == len(values) >= 25, name
        assert {row.dimension for row in dimension} == {name}


@pytest.mark.parametrize("row", rows(), ids=name_of)
def test_an_odd_answer_has_the_one_outcome_that_its_row_names(row: Odd) -> None:
    outcome = outcome_of(row.parts())
    assert meaning_of(outcome) is row.outcome
    if row.seconds != UNCHECKED:
        assert seconds_of(outcome) == row.seconds
    assert not canary.find_marks(f"{outcome!r}")


def seconds_of(outcome: outcomes.Outcome) -> float | None:
    if isinstance(outcome, outcomes.Granted):
        return outcome.expires_in
    assert isinstance(outcome, outcomes.Blocked)
    return outcome.retry_after


@pytest.mark.no_cover
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_any_two_oddities_together_still_give_one_outcome_and_no_secret(one: str, other: str) -> None:
    assert_pairs(one, other, every=20)  # `make simulate` has all of them.
