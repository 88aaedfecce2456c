"""Readiness: what a health endpoint is told, which makes no request and tells no secret."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import trio

from evertoken import BlockKind, Challenge, ProblemKind, TokenMachine, TokenUnavailable, Wait
from evertoken.testing import TokenBehaviour, TokenFault
from evertoken_transports._readiness import readiness_of
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.threads import TokenSource
from evertoken_transports.trio import TokenSource as TrioSource
from tests.kits import canary
from tests.kits.worlds import World


@pytest.fixture
def world() -> World:
    return World()


def source_of(world: World, *, keep_warm: bool = False) -> TokenSource:
    return TokenSource(
        world.grant,
        coordinator=world.coordinator,
        exchange=world.endpoint,
        background=keep_warm,
        keep_warm=keep_warm,
    )


def fail(world: World, source: TokenSource, fault: TokenFault) -> None:
    world.server.next_token_requests(TokenBehaviour(fault=fault))
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0.01)


def test_one_that_nobody_has_called_is_ready_and_is_not_asked_for_by_the_probe(world: World) -> None:
    source = source_of(world)
    state = [source.readiness() for _ in range(10)][-1]
    assert (state.ready, state.status_code, state.seconds_left, state.problem) == (True, 200, 0.0, None)
    assert world.token_requests() == []


def test_one_with_a_token_is_ready_and_says_for_how_long(world: World) -> None:
    source = source_of(world)
    source.authorization()
    world.clock.now += 100
    state = source.readiness()
    assert state.ready
    assert state.seconds_left == 1_095
    assert str(state) == "ready: token good for 1095 s"


def test_a_live_token_is_ready_also_while_the_endpoint_is_locked_and_the_problem_is_told(world: World) -> None:
    source = source_of(world)
    source.authorization()
    source.endpoint_blocked(600)
    state = source.readiness()
    assert (state.ready, state.retry_after) == (True, 0.0)
    assert state.problem is not None
    assert state.problem.kind is ProblemKind.LOCKED


def test_without_a_token_a_lock_is_not_ready_until_it_is_over(world: World) -> None:
    source = source_of(world)
    source.coordinator.endpoint_blocked(BlockKind.LOCKED, 600)
    state = source.readiness()
    assert (state.ready, state.status_code) == (False, 503)
    assert state.retry_after >= 600
    assert state.problem is not None
    assert "locked" in str(state)
    world.clock.now += state.retry_after
    assert source.readiness().ready  # Else nobody would be sent here, and nobody would ask.


def test_after_a_failure_it_is_not_ready_while_it_backs_off_and_then_for_the_next_try(world: World) -> None:
    source = source_of(world)
    fail(world, source, TokenFault.SERVER_ERROR)
    state = source.readiness()
    assert not state.ready
    assert 0.0 < state.retry_after <= 1.0
    world.clock.now += state.retry_after
    assert source.readiness().ready
    _, request = world.coordinator._claim_or_wait(print)
    assert request is not None
    again = source.readiness()
    assert (again.ready, again.retry_after) == (False, 0.0)  # It failed before, and the next is under way.


def test_the_first_request_under_way_is_ready_without_a_problem(world: World) -> None:
    source = source_of(world)
    world.coordinator._claim_or_wait(print)
    assert str(source.readiness()) == "ready: no token yet; the first one is being asked for"


def test_a_spent_budget_without_a_token_is_not_ready(world: World) -> None:
    source = source_of(world)
    while True:
        _, request = world.coordinator._claim_or_wait(print)
        if request is None:
            break
        world.coordinator.request_abandoned(request)
    state = source.readiness()
    assert not state.ready
    assert state.problem is not None
    assert state.problem.kind is ProblemKind.BUDGET
    assert state.retry_after > 0.0


def test_one_that_keeps_warm_is_ready_only_with_a_token(world: World) -> None:
    world.endpoint.gate.clear()
    source = source_of(world, keep_warm=True)
    assert not source.readiness().ready
    assert world.endpoint.entered.acquire(timeout=20)
    state = source.readiness()
    assert (state.ready, state.problem) == (False, None)
    world.endpoint.gate.set()
    source.warm_up()
    assert source.readiness().ready
    source.close()


def test_one_that_is_closed_is_not_ready_and_says_so(world: World) -> None:
    source = source_of(world)
    source.authorization()
    source.close()
    assert str(source.readiness()) == "not ready: this TokenSource is closed"


def test_a_rejected_token_is_none(world: World) -> None:
    source = source_of(world)
    header = source.authorization()
    source.token_worked(header)
    source.token_rejected(header, Challenge.TOKEN)
    assert source.readiness().seconds_left == 0.0


def test_nothing_secret_is_told_and_it_cannot_be_taken_for_a_truth_value(world: World) -> None:
    source = source_of(world)
    fail(world, source, TokenFault.INVALID_CLIENT)
    state = source.readiness()
    canary.assert_clean(state)
    canary.assert_clean(str(state))
    with pytest.raises(TypeError, match="ready"):
        bool(state)


async def exchange(_: object) -> object:
    raise AssertionError


@pytest.mark.parametrize(
    ("kind", "run"), [(AsyncioSource, asyncio.run), (TrioSource, trio.run)], ids=["asyncio", "trio"]
)
def test_it_is_a_plain_call_in_and_outside_an_event_loop(
    world: World, kind: Callable[..., AsyncioSource | TrioSource], run: Callable[..., object]
) -> None:
    source = kind(world.grant, coordinator=world.coordinator, exchange=exchange)

    async def main() -> bool:
        return source.readiness().ready

    def start() -> object:
        return run(main()) if run is asyncio.run else run(main)

    assert start()
    assert source.readiness().ready
    source.coordinator.endpoint_blocked(BlockKind.LOCKED, 600)
    assert not start()


def test_with_a_store_a_lock_is_over_at_its_end_and_not_where_the_store_is_looked_at_again(world: World) -> None:
    machine = TokenMachine(world.grant, draw=lambda: 0.5, tiers=1)
    machine.endpoint_blocked(0.0, BlockKind.LOCKED, 600)
    looks_at = machine.poll(0.0)
    assert isinstance(looks_at, Wait)
    assert looks_at.until < 70.0
    for now in (0.0, looks_at.until):
        seen = machine.explain(now)
        ((_, ends),) = seen.blocks
        state = readiness_of(seen, 0.0, farewell="", warm=False)
        assert (state.ready, state.retry_after) == (False, ends - now)
