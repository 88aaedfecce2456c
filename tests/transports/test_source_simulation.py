"""The sources of asyncio and trio through hours of faults in virtual time, and the checks caught at work."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from trio._core import _run as scheduler
from typing_extensions import override

from evertoken import Ready, TokenMachine, TokenRequest, Wait, WaitReason
from evertoken.testing import Calls, Scenario, TokenFault, WorldFault, draw_scenario
from evertoken_transports import Clock, Coordinator
from evertoken_transports._coordinator import Answer, Waker
from evertoken_transports._progress import Progress
from evertoken_transports.testing import simulate_source
from tests.kits.loops import LOOPS, Loop

# Short ones, in which everything comes about, by turns in trio and in asyncio; in the last of them a caller carries a
# request for so long that the token in its hands expires. tests/searches has more, and each in both.
pytestmark = pytest.mark.usefixtures("unlogged")

SEEDS = (0, 1, 2, 3, 6, 7, 9, 10, 11, 17, 18, 19, 57)
EVERY_LOOP = pytest.mark.parametrize("loop", LOOPS)

# What has to come about somewhere, or the seeds were not hostile enough.
SITUATIONS = {
    "a token after the faults",
    "caller: CredentialsRefused",
    "caller: EndpointLocked",
    "caller: LifetimeTooShort",
    "caller: RateLimited",
    "caller: TokenUnavailable",
    "caller: answered 200",
    "caller: answered 401",
    "caller: cancelled",
    "caller: no answer from the API",
    "network: duplicated",
    "network: late",
    "network: lost after",
    "network: lost before",
    "rejection: dropped",
    "rejection: kept",
    "world: crash",
    "world: lifted",
    "world: outage",
    "world: partition",
    "world: reported",
    "world: revoked",
    "world: rotated",
    "world: suspend",
}


def test_no_seed_breaks_a_law_and_everything_comes_about_in_some() -> None:
    reports = [simulate_source(seed, LOOPS[1 - number % 2]) for number, seed in enumerate(SEEDS)]
    assert not [(report.scenario.seed, report.runtime, report.broken) for report in reports if not report.ok]
    assert not SITUATIONS - {situation for report in reports for situation in report.seen}


@EVERY_LOOP
def test_a_seed_has_one_course(loop: Loop) -> None:
    first, another = crowded(1), crowded(2)
    course = simulate_source(1, loop, scenario=first)
    scheduler._r.random()  # The order in which trio runs tasks follows from this generator.
    assert simulate_source(1, loop, scenario=first) == course
    assert simulate_source(2, loop, scenario=another).digest != course.digest


def crowded(seed: int) -> Scenario:
    """The scenario of a seed in which twenty callers come at once, so that the order of tasks matters."""
    drawn = draw_scenario(seed, seconds=3_600.0)
    return replace(drawn, clients=(replace(drawn.clients[0], calls=Calls.BURSTY),))


# The checks at work: each safeguard that is missing is seen
# ----------------------------------------------------------


class EachForItself(Coordinator):
    """Whoever has to wait for another's request sends it again."""

    latest: TokenRequest | None = None

    @override
    def _claim_or_wait(
        self, waker: Waker, *, since: float = 0.0, deadline: float | None = None, min_ttl: float = 0.0
    ) -> Answer:
        answer, request = super()._claim_or_wait(waker, since=since, deadline=deadline, min_ttl=min_ttl)
        self.latest = request or self.latest
        waits = isinstance(answer, Wait) and answer.reason is WaitReason.RESPONSE
        return answer, self.latest if waits else request

    @override
    def _took(self, request: TokenRequest) -> Progress:
        return super()._took(request) or Progress(request.id)


class Spendthrift(Coordinator):
    """Asks again at once, as often as it likes."""

    def __init__(self, machine: TokenMachine, *, clock: Clock) -> None:
        eager = replace(machine.policy, budget_burst=10_000, retry_base=0.01, retry_cap=0.01, malformed_cap=0.01)
        super().__init__(TokenMachine(machine.grant, policy=eager, draw=lambda: 0.5), clock=clock)


class Hoarder(Coordinator):
    """Hands out the first token for ever."""

    hoarded: Ready | None = None

    @override
    def _claim_or_wait(
        self, waker: Waker, *, since: float = 0.0, deadline: float | None = None, min_ttl: float = 0.0
    ) -> Answer:
        if self.hoarded is not None:
            return self.hoarded, None
        answer, request = super()._claim_or_wait(waker, since=since, deadline=deadline, min_ttl=min_ttl)
        if isinstance(answer, Ready):
            self.hoarded = answer
        return answer, request


class Stubborn(Coordinator):
    """Lets nobody go without a token."""

    @override
    def _claim_or_wait(
        self, waker: Waker, *, since: float = 0.0, deadline: float | None = None, min_ttl: float = 0.0
    ) -> Answer:
        return super()._claim_or_wait(waker, since=since, deadline=math.inf, min_ttl=min_ttl)


def stormy(seed: int) -> Scenario:
    """The scenario of a seed, in a worse place: the endpoint is down for most of the time."""
    drawn = draw_scenario(seed, seconds=10_800.0)
    return replace(drawn, rates=((WorldFault.OUTAGE, 1.0),), token_faults=(TokenFault.SERVER_ERROR,))


def first_broken(loop: Loop, coordinator_class: type[Coordinator]) -> str:
    for seed in range(20):
        report = simulate_source(seed, loop, scenario=stormy(seed), coordinator_class=coordinator_class)
        if report.broken is not None:
            return report.broken
    raise AssertionError("not caught within 20 seeds")


@EVERY_LOOP
@pytest.mark.parametrize(
    ("missing", "law"),
    [
        (EachForItself, "at most one token request is in flight"),
        (Spendthrift, "exchanges in any window are at most the burst"),
        (Hoarder, "expired"),
        (Stubborn, "no caller waits longer than it can"),
    ],
)
def test_a_safeguard_that_is_missing_is_seen(loop: Loop, missing: type[Coordinator], law: str) -> None:
    assert law in first_broken(loop, missing)


def test_a_scenario_can_be_run_with_a_fault_less() -> None:
    whole = stormy(0)
    fault = WorldFault.OUTAGE
    assert f"world: {fault.value}" in simulate_source(0, "asyncio", scenario=whole).seen
    report = simulate_source(0, "asyncio", scenario=whole.without(fault))
    assert report.ok
    assert f"world: {fault.value}" not in report.seen
