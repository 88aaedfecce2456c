"""Each fault by itself, at a rate that no life would have, breaks no law; and every step of it can be played again."""

from __future__ import annotations

import pytest

from evertoken import Policy
from evertoken.testing import ApiFault, Calls, ClientPlan, Scenario, TokenFault, WorldFault, simulate
from evertoken.testing._trace import replay
from evertoken.testing.world._scenario import BY_THEMSELVES
from evertoken.testing.world._swarm import explain_failure

HOUR = 3_600.0


@pytest.mark.parametrize("fault", [*WorldFault, *TokenFault, *ApiFault], ids=str)
def test_no_single_fault_however_frequent_breaks_a_law(fault: WorldFault | TokenFault | ApiFault) -> None:
    scenario = Scenario(
        seed=1,
        seconds=2 * HOUR,
        clients=(ClientPlan(), ClientPlan(calls=Calls.BURSTY, offset=-3.0, drift=1e-4, policy=Policy(leeway=0.0))),
        rates=((fault, 6.0 if fault in BY_THEMSELVES else 0.9),) if isinstance(fault, WorldFault) else (),
        token_faults=(fault,) if isinstance(fault, TokenFault) else (),
        token_fault_rate=0.5,
        api_faults=(fault,) if isinstance(fault, ApiFault) else (),
        api_fault_rate=0.2,
        latency=(0.01, 2.0),
        lifetime=300,
    )
    report = simulate(scenario, keep_trace=True)
    assert report.ok, explain_failure(report)
    assert replay(report.trace).differs_at is None
