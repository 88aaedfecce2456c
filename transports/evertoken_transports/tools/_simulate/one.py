"""``evertoken simulate --seed``: one run to look at, and what it came to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console

from evertoken.testing import ApiFault, Report, Scenario, TokenFault, World, simulate
from evertoken.testing.world._clients import SECOND
from evertoken.testing.world._swarm import story_of
from evertoken.testing.world._watch import Watcher
from evertoken_transports.tools._simulate.choices import Choices
from evertoken_transports.tools._simulate.gallery import Gallery
from evertoken_transports.tools._simulate.progress import Tell, following
from evertoken_transports.tools._simulate.summary import listed, situation_lines, unserved_lines

_SLICES = 200


@dataclass(frozen=True, slots=True)
class One:
    """What the command was asked for."""

    choices: Choices
    seed: int
    double_check: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of it. ``again`` is the digest of a second run, if there was one."""

    one: One
    report: Report
    cpu_seconds: float
    again: str | None

    @property
    def ok(self) -> bool:
        """Whether every law held, and a second run took the same course."""
        return self.report.ok and self.again in (None, self.report.digest)


class _Followed(World):
    """A world that says how far it is, and takes the same course as any other."""

    def __init__(self, scenario: Scenario, watch: Watcher | None, tell: Tell) -> None:
        super().__init__(scenario, watch=watch)
        self._tell_progress = tell

    def run_until(self, end: int) -> None:
        """Run as any world does, but in some two hundred pieces at most, each of which says how far the world is.

        The recovery may take longer than the faults, so that the length of a piece follows from the longer of the two.
        """
        piece = max(1, round(self.scenario.seconds * SECOND / _SLICES), (end - self.time) // _SLICES)
        for moment in range(self.time + piece, end, piece):
            super().run_until(moment)
            self._say()
        super().run_until(end)
        self._say()

    def _say(self) -> None:
        day = self.time / (86_400 * SECOND)
        weather = "" if self.faulty else ", faults are over"
        self._tell_progress(
            min(self.time / SECOND, self.scenario.seconds), f"day {day:,.1f}{weather}, {self.handled:,} events"
        )


def run_one(one: One, console: Console, gallery: Gallery) -> Ran:
    """Run the seed, with progress on ``console``; ``gallery`` looks on, if there is anything to draw."""
    scenario = one.choices.scenario(one.seed)
    watch = gallery.watch(scenario)
    start = time.process_time()
    with following(console, scenario.seconds, quiet=one.quiet) as tell:
        report = _Followed(scenario, watch, tell).run()
    spent = time.process_time() - start
    again = simulate(scenario).digest if one.double_check else None
    return Ran(one, report, spent, again)


def one_lines(ran: Ran) -> Iterator[str]:
    """What was simulated, and what it came to."""
    report, choices = ran.report, ran.one.choices
    yield from _scenario_lines(report.scenario, choices)
    yield f"digest          {report.digest}"
    yield f"events          {report.events:,}, {report.steps:,} steps of machines held to every law"
    yield f"arrivals        {report.token_requests:,} token requests and {report.api_calls:,} API calls"
    yield from unserved_lines(report.seen, held=report.ok)
    yield from situation_lines(report.seen)
    spent = max(ran.cpu_seconds, 1e-9)
    yield (
        f"speed           {ran.cpu_seconds:,.1f} CPU seconds for {report.seconds / 86_400:,.1f} days:"
        f" {report.seconds / spent:,.0f} times real time, {report.events / spent:,.0f} events/s"
    )
    if ran.again not in (None, report.digest):
        yield f"FAILED          a second run came to another digest: {ran.again}"
    elif ran.again is not None:
        yield "checked         a second run came to the same digest"
    if report.broken is None:
        yield f"laws            all held, at each of {report.steps:,} steps"
    else:
        law, client, now = report.broken
        yield f"BROKEN          {law} (client {client}, at {now:.3f} s)"
        yield f"again           {choices.command(ran.one.seed)}"


def failure_lines(report: Report) -> Iterator[str]:
    """The smallest scenario that breaks the same law, and the end of its trace. Finding it may take minutes."""
    yield from story_of(report)


def _scenario_lines(scenario: Scenario, choices: Choices) -> Iterator[str]:
    clients = f"{len(scenario.clients)} client{'s' if len(scenario.clients) > 1 else ''}"
    yield (
        f"seed            {scenario.seed}: {choices.days:g} days, {clients},"
        f" tokens live {scenario.lifetime:,} s, faults: {choices.faults}"
    )
    drawn = list(_fault_lines(scenario))
    yield from drawn or ["faults drawn    none; with --faults all this seed has every one of them"]


def _fault_lines(scenario: Scenario) -> Iterator[str]:
    yield from listed("world faults", [f"{fault.value} {rate:.2g}" for fault, rate in scenario.rates])
    if scenario.token_fault_rate:
        yield from listed("token endpoint", _struck(scenario.token_fault_rate, scenario.token_faults))
    if scenario.api_fault_rate:
        yield from listed("API", _struck(scenario.api_fault_rate, scenario.api_faults))


def _struck(rate: float, faults: tuple[TokenFault, ...] | tuple[ApiFault, ...]) -> list[str]:
    names = [fault.value for fault in faults]
    return [f"{rate:.0%} of requests: {names[0]}", *names[1:]] if names else []
