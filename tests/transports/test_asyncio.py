"""asyncio.TokenSource: what only asyncio can do to it. What it shares with trio's is in test_async_sources."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from evertoken import HttpResponse, TokenRequest
from evertoken_transports import CallWaited, Event, RequestEnded, RequestStarted, TokenGranted
from evertoken_transports.asyncio import TokenSource
from evertoken_transports.threads import TokenSource as ThreadSource
from tests.kits.loops import AsyncEndpoint, VirtualLoop, assert_nothing_held, run_in, source_in
from tests.kits.worlds import World, run_in_threads


@pytest.fixture
def world() -> World:
    return World()


def asked(world: World) -> int:
    return len(world.token_requests())


# Loops that end
# --------------


def test_a_loop_that_is_closed_with_waiters_on_it_does_not_stop_the_others(world: World) -> None:
    world.endpoint.gate.clear()
    threads = ThreadSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    first = run_in_threads(4, lambda _: threads.authorization())
    world.wait_for_waiters(4)
    loop = asyncio.new_event_loop()
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=AsyncEndpoint("asyncio", world))
    waiting = [loop.create_task(source.authorization()) for _ in range(4)]
    loop.run_until_complete(asyncio.sleep(0))
    assert len(world.coordinator._wakers) == 8
    loop.close()
    last = run_in_threads(4, lambda _: threads.authorization())
    world.wait_for_waiters(12)
    world.endpoint.gate.set()
    served = {*first(), *last()}
    assert len(served) == 1
    assert served == {threads.authorization_nowait()}
    assert asked(world) == 1
    _bury(*waiting)
    assert_nothing_held(world)


def test_a_loop_that_is_closed_with_the_request_on_it_gives_it_back_at_once(world: World) -> None:
    loop = asyncio.new_event_loop()
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=AsyncEndpoint("asyncio", world, 2))
    waiting = [loop.create_task(source.authorization())]
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    assert asked(world) == 1
    threads = ThreadSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    others = run_in_threads(4, lambda _: threads.authorization())
    world.wait_for_waiters(5)
    loop.close()
    assert len(set(others())) == 1
    assert asked(world) == 2
    _bury(*waiting, *source._tasks)
    world.settle()
    assert_nothing_held(world)


def test_what_is_carried_to_its_end_is_not_given_back_when_its_loop_is_closed(world: World) -> None:
    loop = VirtualLoop(world.clock)
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=AsyncEndpoint("asyncio", world, 2))
    events: list[Event] = []
    source.on_event = events.append
    loop.run_until_complete(source.authorization())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gc.collect()
    assert [type(event) for event in events] == [RequestStarted, TokenGranted, RequestEnded, CallWaited]
    assert source._tasks == set()


def test_a_source_whose_warming_loop_was_just_closed_is_kept_warm_by_the_next(world: World) -> None:
    source = TokenSource(
        world.grant, coordinator=world.coordinator, exchange=AsyncEndpoint("asyncio", world), keep_warm=True
    )
    first = VirtualLoop(world.clock)
    first.run_until_complete(source.authorization())
    left = set(source._tasks)
    first.close()
    second = VirtualLoop(world.clock)

    async def main() -> None:
        assert source.authorization_nowait()
        await asyncio.sleep(1_200)

    second.run_until_complete(main())
    assert asked(world) == 2
    _bury(*left, *source._tasks)
    second.close()


def _bury(*tasks: asyncio.Task[Any]) -> None:
    """What the collector does one day to tasks whose loop is closed, without the complaint that asyncio logs then."""
    for task in tasks:
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_source_is_used_in_one_loop_after_the_other_while_the_first_is_still_open(world: World) -> None:
    first, second = VirtualLoop(world.clock), VirtualLoop(world.clock)
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=AsyncEndpoint("asyncio", world, 2))
    for loop in (first, second, first):
        assert loop.run_until_complete(source.authorization())
        world.clock.now += 1_200
    assert asked(world) == 3
    first.close()
    second.close()


def test_the_end_of_a_run_gives_the_request_up_without_a_penalty_and_without_a_word(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        source = source_in("asyncio", world, exchange=AsyncEndpoint("asyncio", world, 2), keep_warm=True)
        source.authorization_nowait()

    run_in("asyncio", world, main)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    assert_nothing_held(world)


# Tasks
# -----


def test_a_request_runs_in_a_task_of_its_own_that_is_kept_and_has_a_name(world: World) -> None:
    names: list[str] = []

    async def main() -> None:
        async def exchange(request: TokenRequest, /) -> object:
            task = asyncio.current_task()
            assert task is not None
            names.append(task.get_name())
            gc.collect()
            await asyncio.sleep(1)
            gc.collect()
            return world.endpoint(request)

        source = TokenSource(world.grant, coordinator=world.coordinator, exchange=exchange)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert source.authorization_nowait() is None
        assert len(source._tasks) == 1
        await asyncio.sleep(2)
        assert len(source._tasks) == 0
        assert source.authorization_nowait()

    run_in("asyncio", world, main)
    assert names == ["evertoken-request"]


@pytest.mark.parametrize("turns", range(5))
def test_a_cancellation_that_meets_the_answer_is_not_swallowed(world: World, turns: int) -> None:
    async def main() -> None:
        accepted: list[bool] = []

        def cancel_after(turns: int) -> None:
            if turns:
                asyncio.get_running_loop().call_soon(cancel_after, turns - 1)
            else:
                accepted.append(caller.cancel())

        async def exchange(request: TokenRequest, /) -> HttpResponse:
            await asyncio.sleep(2)
            cancel_after(turns)
            return world.endpoint(request)

        caller = asyncio.create_task(source_in("asyncio", world, exchange=exchange).authorization())
        await asyncio.sleep(3)
        assert accepted == [caller.cancelled()]

    run_in("asyncio", world, main)
    assert asked(world) == 1
    assert_nothing_held(world)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_that_lands_in_the_exchange_ends_the_run_and_leaves_nothing_held(
    world: World, interruption: type[BaseException]
) -> None:
    async def exchange(_: TokenRequest, /) -> object:
        await asyncio.sleep(1)
        raise interruption

    async def main() -> None:
        source = TokenSource(world.grant, coordinator=world.coordinator, exchange=exchange)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await source.authorization()

    with pytest.raises(interruption):
        run_in("asyncio", world, main)
    assert_nothing_held(world)
    assert run_in("asyncio", world, lambda: source_in("asyncio", world).authorization())


def test_a_bug_in_what_carries_a_request_is_told_as_one(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.coordinator, "receive_response", broken)
    monkeypatch.setattr(world.coordinator, "send_failed", broken)

    async def main() -> None:
        source_in("asyncio", world).authorization_nowait()
        await asyncio.sleep(0.1)

    run_in("asyncio", world, main)
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert messages == ["bug: what carries a token request raised ZeroDivisionError"]
    assert_nothing_held(world)
