"""The ablation table: every double on seeds 0, 1, 2, ... until a check fires, and in the explorer. Prints the page.

python -m tests.ablations.table > docs/ablations.md
python -m tests.ablations.table has_no_leeway           only that row, or those of several doubles
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from evertoken import BlockKind, _step
from evertoken.testing import SMALL_POLICY, Alphabet, law_of, simulate
from evertoken.testing._explorer import _Search
from tests.ablations.doubles import DOUBLES

__all__ = ("MOST_SEEDS", "PAGE", "Row", "caught", "page", "rows_of")

MOST_SEEDS = 100
PAGE = Path(__file__).parents[2] / "docs" / "ablations.md"

_MOST_STATES = 10_000
_WORLDS = (
    (SMALL_POLICY, Alphabet(demands=(0.0, 2.0)), 1.0),
    (
        replace(SMALL_POLICY, refresh_jitter_share=0.25, wait_spread=4, wait_spread_share=0.5, budget_interval_floor=3),
        Alphabet(
            draws=(0.0, 0.96875),
            lifetimes=(8.0, 3.0, 12.0, None),
            reports=((BlockKind.LOCKED, None), (BlockKind.REFUSED, None), (BlockKind.RATE_LIMITED, 3.0)),
        ),
        0.5,
    ),
)
_HEAD = """\
# Ablations

Each safeguard of the machine, switched off in a test double, one at a time; and how soon the simulation notices.
A safeguard whose absence nobody notices would be one that nobody can rely on: every double has to be found within
{most} seeds, each of which is one simulated day.

- **Double**: a function in `tests/ablations`, and what it does where the real machine does better.
- **Seed**: the first seed, from 0 on, in which a check fired. Every seed before it kept all laws, without the
  safeguard. `python -m tests.ablations.table has_no_leeway` runs that double from seed 0 on, and prints its row.
- **Law**: the law that fired first (`evertoken.testing.broken_in`, `broken_by`, and the checks of the world).
- **After**: the simulated time in that seed, until then.
- **Explorer**: how many inputs the shortest path has by which `explore` finds it among {states} states; a dash where
  it needs something that the explorer does not have: restarts, draws by chance, callers, lives longer than its own.

`make ablations` writes this page anew. The tests run each double on its published seed and see the same law fire.

| Safeguard | Double | Seed | Law | After | Explorer |
|---|---|---:|---|---:|---:|
"""


class Row(NamedTuple):
    """One line of the table: ``seed`` found it, and the explorer with ``path`` inputs; each is None if it did not."""

    name: str
    seed: int | None
    law: str
    after: str
    path: int | None


def caught(name: str) -> Row:
    """Run the double called ``name`` until it is caught."""
    gc.disable()  # A tenth faster.
    try:
        with pytest.MonkeyPatch.context() as patch:
            DOUBLES[name].install(patch)
            path = _explored()
            for seed in range(MOST_SEEDS):
                broken = simulate(seed).broken
                if broken is not None:
                    return Row(name, seed, law_of(broken.law), _told(broken.now), path)
        return Row(name, None, "", "", path)
    finally:
        gc.enable()


def _explored() -> int | None:
    """How many inputs the shortest path to a broken law has; None if the explorer finds none.

    Only laws of states and steps are tried: a double that makes no progress would be asked for a token without end.
    """
    for policy, alphabet, tick in _WORLDS:
        search = _Search(policy, alphabet, tick, 3.0, _step.step)
        search.run(_MOST_STATES, 1)
        if search.violations:
            return len(search.violations[0].path)
    return None


def _told(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}:{minutes:02} h"


def page(rows: Iterable[Row]) -> str:
    """The whole page."""
    return _HEAD.format(most=MOST_SEEDS, states=f"{_MOST_STATES:,}") + "".join(map(_line, rows))


def _line(row: Row) -> str:
    double = DOUBLES[row.name]
    seed = "none" if row.seed is None else row.seed
    path = "–" if row.path is None else row.path
    return f"| {double.safeguard} | `{row.name}`: {double.does} | {seed} | {row.law} | {row.after} | {path} |\n"


def rows_of(text: str) -> Iterator[Row]:
    """The rows that ``text``, which is a page or a part of one, shows."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "`:" in line and len(cells) == 6:
            _, double, seed, law, after, path = cells
            name = double.split("`")[1]
            yield Row(name, int(seed) if seed.isdigit() else None, law, after, int(path) if path.isdigit() else None)


def main(names: Sequence[str]) -> None:
    """Run the doubles called ``names`` on every core, and print their rows; or all of them, and print the page."""
    with ProcessPoolExecutor() as pool:
        rows = pool.map(caught, names or DOUBLES)
        sys.stdout.write("".join(map(_line, rows)) if names else page(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
