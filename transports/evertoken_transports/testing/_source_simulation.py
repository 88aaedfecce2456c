"""Simulating the real sources of asyncio and trio: hours of faults in virtual time, over streams in memory."""

from __future__ import annotations

from dataclasses import dataclass

from evertoken.testing import Route, Scenario, draw_scenario
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._runtime import Runtime
from evertoken_transports.testing._source_world import SourceWorld


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What became of one run. ``broken`` is None if every law held."""

    scenario: Scenario
    runtime: Runtime
    digest: str
    """SHA-256 of the course: equal for an equal seed, in any process."""
    token_requests: int
    api_calls: int
    seen: dict[str, int]
    """How often each situation came about."""
    broken: str | None

    @property
    def ok(self) -> bool:
        """Whether every law held."""
        return self.broken is None


def simulate_source(
    seed: int,
    runtime: Runtime,
    *,
    seconds: float = 10_800.0,
    scenario: Scenario | None = None,
    coordinator_class: type[Coordinator] = Coordinator,
) -> SourceReport:
    """Run a real ``TokenSource`` of ``runtime`` with many callers through ``seconds`` of hostile virtual time.

    The scenario is the one that :func:`evertoken.testing.draw_scenario` draws, of whose clients only the first takes
    part. The source, its coordinator and its HTTP are those of production; network and time are not. Callers are
    cancelled, requests and answers are lost, doubled and late, the server fails in every way that it can, the machine
    sleeps, the process restarts, keys rotate. The run is held to

    - the server's truth: no call arrives with a token that has expired or was never issued;
    - one token request in flight, exchanges within the budget, and an overuse rule that never fires;
    - patience: no caller waits longer than it can, and nobody hangs;
    - recovery: when the faults are over there is a token within the bound of the policy, and it is good;
    - order: when the source is closed no caller and no task is left.

    Args:
        seed: the number from which everything follows.
        runtime: "asyncio" or "trio".
        seconds: how long the faults last.
        scenario: run this one instead; ``seed`` and ``seconds`` are then its own.
        coordinator_class: a test of the checks passes one that lacks a safeguard.
    """
    drawn = draw_scenario(seed, seconds=seconds) if scenario is None else scenario
    world = SourceWorld(drawn, runtime, coordinator_class)
    world.run()
    routes = [arrival.route for arrival in world.server.arrivals]
    return SourceReport(
        drawn,
        runtime,
        world.checks.digest(),
        routes.count(Route.TOKEN),
        routes.count(Route.API),
        dict(world.checks.seen),
        world.checks.broken,
    )
