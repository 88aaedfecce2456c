"""The sources of asyncio and trio through more hours of faults than the suite has time for."""

from __future__ import annotations

import pytest

from evertoken_transports.testing import simulate_source
from tests.kits.loops import LOOPS, Loop


@pytest.mark.parametrize("first", range(0, 60, 20))
@pytest.mark.parametrize("loop", LOOPS)
def test_no_seed_breaks_a_law(loop: Loop, first: int) -> None:
    reports = [simulate_source(seed, loop) for seed in range(first, first + 20)]
    assert not [(report.scenario.seed, report.broken) for report in reports if not report.ok]
