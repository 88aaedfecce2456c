"""Processes that end and go on from a snapshot: nothing that was known is forgotten, whatever their clock shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from evertoken._look import decide
from evertoken._policy import whole_ticks
from evertoken.testing import Calls, ClientPlan, Scenario, Trace, World, WorldFault, replay, simulate
from evertoken.testing._restart import Restart, restarted
from evertoken.testing.laws._restart_laws import broken_by_restart
from tests.core.simulation.test_laws import POLICY, WALKS, changed
from tests.kits.driving import LOCKED, REFUSED, attempt, machine

RESTLESS = Scenario(
    seed=5,
    seconds=40_000.0,
    clients=(ClientPlan(calls=Calls.STEADY, period=60.0), ClientPlan(offset=1e6, drift=1e-3)),
    lifetime=300,
    latency=(0.01, 4.0),
    rates=(
        (WorldFault.RESTART, 4.0),
        (WorldFault.SUSPEND, 1.0),
        (WorldFault.LOST_AFTER, 0.2),
        (WorldFault.REPORTED, 1.0),
        (WorldFault.ROTATED, 6.0),
    ),
)


def restarts_after_inputs(trace: Trace) -> Iterator[tuple[float, Restart]]:
    """Each restart, with the moment of the last thing that happened to its client before."""
    last: dict[int, float] = {}
    for entry in trace.entries:
        assert entry.happened is not None
        if isinstance(entry.happened, Restart):
            yield last.get(entry.client, -math.inf), entry.happened
        last[entry.client] = entry.happened.now


def test_a_run_full_of_restarts_breaks_no_law_and_can_be_replayed() -> None:
    report = simulate(RESTLESS, keep_trace=True)
    assert report.ok, report.broken
    assert replay(report.trace).differs_at is None
    assert replay(report.trace).digest == report.digest
    restarts = [restart for _, restart in restarts_after_inputs(report.trace)]
    assert {restart.secrets for restart in restarts} == {False, True}
    assert {restart.replaced for restart in restarts} == {False, True}
    assert any(restart.now < restart.taken_at for restart in restarts)
    from_last = {whole_ticks(restart.taken_at) == last for last, restart in restarts_after_inputs(report.trace)}
    assert from_last == {False, True}
    assert any("restart after" in line and "without token" in line for line in report.trace.lines())


def test_the_servers_rule_watches_over_restarts_but_not_over_crashes_that_keep_nothing() -> None:
    assert World(RESTLESS).server.script.overuse is not None
    crashes = replace(RESTLESS, rates=((WorldFault.CRASH, 1.0),))
    assert World(crashes).server.script.overuse is None


def test_who_sleeps_is_not_restarted() -> None:
    world = World(replace(RESTLESS, rates=()))
    client = world.clients[0]
    client.asleep_until = 10
    world._restart(client)
    assert (client.epoch, world.trace.length) == (0, 0)


@pytest.mark.no_cover
@pytest.mark.parametrize("clock", [0.0, 5_000_000.0])
def test_whatever_is_changed_in_what_a_restart_keeps_some_law_is_broken(clock: float) -> None:
    for number, (_, _, before, _) in enumerate(WALKS[::6]):
        restart = Restart(before.now, clock, number % 3, secrets=number % 4 > 0, replaced=number % 5 == 0)
        after = restarted(POLICY, before, restart)
        assert not broken_by_restart(POLICY, before, restart, after)
        for wrong in changed(after):
            assert broken_by_restart(POLICY, before, restart, wrong), f"{after}\nbecame\n{wrong}"


def test_a_process_with_another_secret_believes_nothing_but_the_budget() -> None:
    m = machine()
    attempt(m, 1_000, REFUSED)
    same = Restart(1_000, 3, 0, secrets=True)
    assert restarted(m.policy, m.state_value, same).standing
    other = restarted(m.policy, m.state_value, same._replace(replaced=True))
    assert not other.standing
    assert other.budget.level == m.state_value.budget.level < m.policy.budget_burst


@pytest.mark.parametrize("secrets", [False, True])
def test_a_block_stands_for_the_rest_of_its_time_on_whatever_clock(secrets: bool) -> None:
    m = machine()
    attempt(m, 1_000, LOCKED)
    after = restarted(m.policy, m.state_value, Restart(1_000, 3, 60, secrets))
    assert getattr(decide(after), "until", None) == 3 + 900 - 60
