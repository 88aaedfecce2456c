"""Every safeguard is missed when it is gone: each double breaks, on its published seed, the law that was published."""

from __future__ import annotations

import pytest

from evertoken.testing import law_of, simulate
from tests.ablations.doubles import DOUBLES
from tests.ablations.table import MOST_SEEDS, PAGE, Row, caught, page, rows_of

PUBLISHED = {row.name: row for row in rows_of(PAGE.read_text(encoding="utf-8"))}


def test_the_published_table_names_every_double_and_says_what_it_does() -> None:
    assert PUBLISHED.keys() == DOUBLES.keys()
    assert page(PUBLISHED[name] for name in DOUBLES) == PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOUBLES)
def test_a_machine_without_a_safeguard_breaks_the_published_law_on_the_published_seed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = PUBLISHED[name]
    assert row.seed is not None
    assert row.seed < MOST_SEEDS
    DOUBLES[name].install(monkeypatch)
    broken = simulate(row.seed).broken
    assert broken is not None
    assert law_of(broken.law) == row.law


def test_a_row_is_what_a_double_comes_to() -> None:
    row = caught("charges_nothing")
    assert row == PUBLISHED["charges_nothing"]
    assert list(rows_of(page([row, Row("charges_nothing", None, "", "", None)]))) == [
        row,
        Row("charges_nothing", None, "", "", None),
    ]
