"""Many seeds, one verdict: run them, name the first that fails, and make its scenario as small as it can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from evertoken._checks import is_moment
from evertoken.testing.world._checks import SITUATIONS, Broken
from evertoken.testing.world._clients import Client
from evertoken.testing.world._scenario import DAY, Scenario, draw_scenario
from evertoken.testing.world._world import Report, World


@dataclass(frozen=True, slots=True)
class SwarmReport:
    """What became of many runs, whose counts are added up. ``failures`` are the reports of those that broke a law.

    ``missing`` are the situations that never came about in any of them.
    """

    runs: int
    seconds: float
    events: int
    failures: tuple[Report, ...]
    seen: dict[str, int]
    missing: tuple[str, ...]


def simulate(
    scenario: Scenario | int, *, days: float = 1.0, keep_trace: bool = False, client: type[Client] = Client
) -> Report:
    """Run one scenario, or the one that a seed stands for, and report.

    Args:
        scenario: the scenario, or its seed.
        days: how long faults go on in the scenario of a seed; another scenario says so itself.
        keep_trace: whether the trace keeps its lines, for people and for ``replay``.
        client: how clients are made. A test of the checks passes one with a safeguard removed.

    Raises:
        TypeError: ``scenario`` is neither a scenario nor a whole number.
        ValueError: the seed is not from 0 to 2**64 - 1, or ``days`` is no duration.
    """
    if isinstance(scenario, int):
        if not is_moment(days) or days < 0:
            raise ValueError("days must be a finite number that is not negative")
        scenario = draw_scenario(scenario, seconds=days * DAY)
    elif not isinstance(scenario, Scenario):
        raise TypeError(f"scenario must be a Scenario or a seed, not {type(scenario).__name__}")
    return World(scenario, keep_trace=keep_trace, client=client).run()


def swarm(seeds: Iterable[int], *, days: float = 1.0, client: type[Client] = Client) -> SwarmReport:
    """Run every seed of ``seeds``, each a scenario of its own, with faults for so many ``days``.

    Raises:
        TypeError, ValueError: as :func:`simulate`.
    """
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


def law_of(sentence: str) -> str:
    """The law that a ``Broken`` names, without the numbers of the case, which stand behind a colon."""
    return sentence.partition(": ")[0]


def shrink(report: Report, *, client: type[Client] = Client, most_runs: int = 200) -> Report:
    """The report of a smaller scenario that breaks the same law: fewer faults, fewer clients, less time.

    Once ``most_runs`` have been tried, the smallest so far is taken.

    Raises:
        ValueError: no law was broken in ``report``.
    """
    law, best, runs = law_of(_broken(report).law), report, 0
    progress = True
    while progress and runs < most_runs:
        progress = False
        for smaller in _smaller(best.scenario):
            runs += 1
            tried = simulate(smaller, client=client)
            if tried.broken is not None and law_of(tried.broken.law) == law:
                best, progress = tried, True
                break
    return simulate(best.scenario, keep_trace=True, client=client)


def _broken(report: Report) -> Broken:
    if report.broken is None:
        raise ValueError(f"every law held with seed {report.scenario.seed}: there is nothing to shrink or to explain")
    return report.broken


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
    """What a failing seed has to say: the law, the one command that reruns it, and the end of the shrunk trace.

    Raises:
        ValueError: no law was broken in ``report``.
    """
    head = f"Seed {report.scenario.seed}: {_broken(report).law}"
    again = _command(report.scenario) if client is Client else "simulate(report.scenario, client=...)"
    return "\n".join([head, "Run it again with:", f"    {again}", *story_of(report, client=client, lines=lines)])


def _command(scenario: Scenario) -> str:
    if scenario != draw_scenario(scenario.seed, seconds=scenario.seconds):
        return "simulate(report.scenario)"
    # In seconds, since there need not be a number of days that comes to exactly as many.
    drawn = f"draw_scenario({scenario.seed}, seconds={scenario.seconds!r})"
    return f"python -c 'from evertoken.testing import draw_scenario, simulate; print(simulate({drawn}).broken)'"


def story_of(report: Report, *, client: type[Client] = Client, lines: int = 40) -> list[str]:
    """The smallest scenario that breaks the law of ``report``, and the last ``lines`` of its trace."""
    small = shrink(report, client=client)
    broken, scenario = _broken(small), small.scenario
    faults = ", ".join(fault.value for fault in scenario.faults) or "none"
    told = list(small.trace.lines(broken.client))[-lines:]
    return [
        f"Shrunk to {len(scenario.clients)} client(s), {scenario.seconds} s, faults: {faults}:",
        f"    {broken.law}",
        f"    at {broken.now} s, client {broken.client}",
        "The end of its trace:",
        *(f"    {line}" for line in told),
    ]
