"""Many seeds, one verdict: run them, name the first that fails, and make its scenario as small as it can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from evertoken.testing._checks import SITUATIONS
from evertoken.testing._clients import Client
from evertoken.testing._scenario import DAY, Scenario, draw_scenario
from evertoken.testing._world import Report, World

__all__ = ("SwarmReport", "explain_failure", "shrink", "simulate", "swarm")


@dataclass(frozen=True, slots=True)
class SwarmReport:
    """What became of many runs. ``missing`` are the situations that never came about in any of them."""

    runs: int
    seconds: float
    events: int
    failures: tuple[Report, ...]
    seen: dict[str, int]
    missing: tuple[str, ...]


def simulate(
    scenario: Scenario | int, *, days: float = 1.0, keep_trace: bool = False, client: type[Client] = Client
) -> Report:
    """Run one scenario, or the one that a seed stands for, and report."""
    if isinstance(scenario, int):
        scenario = draw_scenario(scenario, seconds=days * DAY)
    return World(scenario, keep_trace=keep_trace, client=client).run()


def swarm(seeds: Iterable[int], *, days: float = 1.0, client: type[Client] = Client) -> SwarmReport:
    """Run every seed of ``seeds``, each a scenario of its own."""
    runs = events = 0
    seconds = 0.0
    seen: Counter[str] = Counter()
    failures: list[Report] = []
    for seed in seeds:
        report = simulate(seed, days=days, client=client)
        runs += 1
        events += report.events
        seconds += report.seconds
        seen.update(report.seen)
        if not report.ok:
            failures.append(report)
    missing = tuple(situation for situation in SITUATIONS if not seen[situation])
    return SwarmReport(runs, seconds, events, tuple(failures), dict(seen), missing)


def shrink(report: Report, *, client: type[Client] = Client, most_runs: int = 200) -> Report:
    """The report of a smaller scenario that breaks the same law: fewer faults, fewer clients, less time."""
    assert report.broken is not None  # noqa: S101 - for the type checkers; there is nothing to shrink otherwise
    law, best, runs = report.broken.law, report, 0
    progress = True
    while progress and runs < most_runs:
        progress = False
        for smaller in _smaller(best.scenario):
            runs += 1
            tried = simulate(smaller, client=client)
            if tried.broken is not None and tried.broken.law == law:
                best, progress = tried, True
                break
    return simulate(best.scenario, keep_trace=True, client=client)


def _smaller(scenario: Scenario) -> Iterable[Scenario]:
    if scenario.seconds > 60.0:
        yield replace(scenario, seconds=scenario.seconds / 2)
    if len(scenario.clients) > 1:
        for index in range(len(scenario.clients)):
            yield replace(scenario, clients=scenario.clients[:index] + scenario.clients[index + 1 :])
    for fault in scenario.faults:
        yield scenario.without(fault)
    if scenario.latency[1] or scenario.api_latency[1]:
        yield replace(scenario, latency=(0.0, 0.0), api_latency=(0.0, 0.0))


def explain_failure(report: Report, *, client: type[Client] = Client, lines: int = 40) -> str:
    """What a failing seed has to say: the law, the one command that reruns it, and the end of the shrunk trace."""
    assert report.broken is not None  # noqa: S101 - for the type checkers; a run that held has nothing to explain
    small = shrink(report, client=client)
    broken = small.broken or report.broken
    scenario, days = report.scenario, report.scenario.seconds / DAY
    faults = ", ".join(fault.value for fault in small.scenario.faults) or "none"
    told = list(small.trace.lines(broken.client))[-lines:]
    return "\n".join(
        [
            f"Seed {scenario.seed}: {broken.law}",
            f"    at {broken.now} s, client {broken.client}",
            f"    shrunk to {len(small.scenario.clients)} client(s), {small.scenario.seconds} s, faults: {faults}",
            "Run it again with:",
            f"    python -c 'from evertoken.testing import simulate; print(simulate({scenario.seed}, days={days!r}))'"
            if scenario == draw_scenario(scenario.seed, seconds=scenario.seconds)
            else "    simulate(report.scenario)",
            "The end of its trace:",
            *(f"    {line}" for line in told),
        ]
    )
