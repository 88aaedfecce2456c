"""Every odd value of an answer together with every other."""

from __future__ import annotations

import pytest

from tests.kits.odd_answers import PAIRS, assert_pairs


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_any_two_oddities_together_still_give_one_outcome_and_no_secret(one: str, other: str) -> None:
    assert_pairs(one, other, every=1)
