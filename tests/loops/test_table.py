"""The table of loops: row = a loop or an interpreter, column = what a source owes its callers there.

The endpoint is on a real socket, in a thread of this process, and its count of requests is the judge. See ``columns``
for what each column says, ``rows`` for the rows.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.loops.columns import app_for, carry_out, needs_tls
from tests.loops.endpoint import Stage, TlsFiles
from tests.loops.rows import CELLS, KITS, WAYS, Cell, Way, carry_out_elsewhere

HERE = [cell for cell in CELLS if cell.way is None]


@pytest.mark.parametrize("cell", HERE, ids=str)
def test_it_holds_under_this_loop(cell: Cell, tls: TlsFiles) -> None:
    with _stage(cell, tls) as stage:
        carry_out(cell.column, app_for(cell.column, KITS[cell.kit](), cell.face, stage.place, stage))


@pytest.mark.parametrize("way", WAYS)
def test_all_of_it_holds_in_this_process(way: Way, tls: TlsFiles) -> None:
    """Its cells share one process, which takes longer to start than they to run."""
    cells = [cell for cell in CELLS if cell.way == way]
    with ExitStack() as stack:
        stages = [stack.enter_context(_stage(cell, tls)) for cell in cells]
        results = carry_out_elsewhere(way, [(cell, stage.place) for cell, stage in zip(cells, stages, strict=True)])
    if failures := [f"{cell}:\n{result}" for cell, result in zip(cells, results, strict=True) if result]:
        raise AssertionError("\n".join(failures))


def _stage(cell: Cell, tls: TlsFiles) -> Stage:
    return Stage(tls if needs_tls(cell.column) else None)
