"""trio.TokenSource: what only trio can do to it. What it shares with asyncio's is in test_async_sources."""

from __future__ import annotations

import threading

import pytest
import trio

from evertoken import HttpResponse, LocalProtocolError, TokenRequest, TokenUnavailable
from evertoken_transports.trio import TokenSource
from tests.kits.loops import AsyncEndpoint, all_of, assert_nothing_held, run_in, turn_until
from tests.kits.worlds import World


@pytest.fixture
def world() -> World:
    return World()


def asked(world: World) -> int:
    return len(world.token_requests())


def source_of(world: World, seconds: float = 0.0, **options: object) -> TokenSource:
    exchange = AsyncEndpoint("trio", world, seconds)
    return TokenSource(world.grant, **({"coordinator": world.coordinator, "exchange": exchange} | options))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def homes(name: str = "evertoken-request") -> list[trio.Nursery | None]:
    """The nurseries in which our tasks of that name run."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found: list[trio.Nursery | None] = []
    queue = [root]
    while queue:
        task = queue.pop()
        if task.name == name:
            found.append(task.parent_nursery)
        for nursery in task.child_nurseries:
            queue.extend(nursery.child_tasks)
    return found


# Where requests run
# ------------------


def test_a_request_runs_in_a_system_task_and_outlives_the_nursery_of_its_caller(world: World) -> None:
    async def main() -> None:
        source = source_of(world, 2)
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(source.authorization)
                await trio.sleep(0.5)
                (home,) = homes()
                assert home is not nursery
                root = trio.lowlevel.current_root_task()
                assert root is not None
                assert home in root.child_nurseries
        assert await source.authorization()

    run_in("trio", world, main)
    assert asked(world) == 1


def test_nothing_of_a_source_runs_on_after_its_block(world: World) -> None:
    async def main() -> None:
        async with source_of(world, 2) as source:
            assert source.authorization_nowait() is None
            await trio.sleep(1)
            assert len(homes()) == 1
        assert homes() == []

    run_in("trio", world, main)
    assert asked(world) == 1
    assert_nothing_held(world)


def test_the_end_of_the_block_gives_its_request_up_without_a_penalty_and_another_source_takes_over(
    world: World,
) -> None:
    async def main() -> list[str]:
        other = source_of(world, 2)

        async def block() -> str:
            async with source_of(world, 2) as source:
                source.authorization_nowait()
                await trio.sleep(1)
            with pytest.raises(LocalProtocolError, match="closed"):
                source.authorization_nowait()
            return ""

        async def wait() -> str:
            await trio.sleep(0.5)
            return await other.authorization()

        return await all_of("trio", block, *[wait] * 10)

    assert len(set(run_in("trio", world, main))) == 2
    assert asked(world) == 2
    assert world.clock() == pytest.approx(1_003)
    assert_nothing_held(world)


def test_waiters_inside_the_block_are_sent_home_when_it_is_closed_under_them(world: World) -> None:
    async def main() -> None:
        async with source_of(world, 2) as source, trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(LocalProtocolError, match="closed"):
                    await source.authorization()

            for _ in range(5):
                nursery.start_soon(wait)
            await turn_until("trio", lambda: len(world.coordinator._wakers) == 5)
            await source.aclose()

    run_in("trio", world, main)
    assert_nothing_held(world)


def test_a_source_in_its_block_serves_another_run_as_well(world: World) -> None:
    """The other run is in another thread, where that nursery is not."""
    served: list[str] = []

    async def elsewhere(source: TokenSource) -> None:
        served.append(await source.authorization())

    async def main() -> None:
        async with source_of(world) as source:
            await trio.to_thread.run_sync(trio.run, elsewhere, source)
            assert source.authorization_nowait() == served[0]

    trio.run(main)
    assert asked(world) == 1


# What leaves the block
# ---------------------


def test_a_block_that_is_cancelled_is_left_without_a_word(world: World) -> None:
    async def main() -> bool:
        with trio.move_on_after(1) as scope:
            async with source_of(world, 2) as source:
                await source.authorization()
        return scope.cancelled_caught

    assert run_in("trio", world, main)
    assert_nothing_held(world)


def test_the_blocks_own_error_is_not_lost_when_it_is_cancelled_from_outside_too(world: World) -> None:
    mine = ValueError("mine")

    async def block(outer: trio.CancelScope) -> None:
        async with source_of(world, 2) as source:
            source.authorization_nowait()
            outer.cancel()
            raise mine

    async def main() -> None:
        with trio.CancelScope() as outer, pytest.raises(ValueError, match="mine") as caught:
            await block(outer)
        assert caught.value is mine

    run_in("trio", world, main)
    assert_nothing_held(world)


def test_a_caller_that_shields_itself_gets_a_token_though_its_block_is_cancelled(world: World) -> None:
    served: list[str] = []

    async def main() -> None:
        with trio.CancelScope() as outer:
            async with source_of(world, 2) as source:
                outer.cancel()
                with trio.CancelScope(shield=True):
                    served.append(await source.authorization())

    run_in("trio", world, main)
    assert len(served) == 1
    assert asked(world) == 1
    assert_nothing_held(world)


# An exchange that breaks
# -----------------------


@pytest.mark.parametrize("keep_warm", [False, True])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, BaseExceptionGroup])
def test_an_interruption_raised_in_a_system_task_does_not_end_the_whole_run(
    world: World, kind: type[BaseException], keep_warm: bool
) -> None:
    async def main() -> str:
        raising = [kind("of an exchange", [SystemExit()]) if kind is BaseExceptionGroup else kind()]

        async def exchange(request: TokenRequest, /) -> HttpResponse:
            await trio.sleep(1)
            if raising:
                raise raising.pop()
            return world.endpoint(request)

        source = source_of(world, exchange=exchange, keep_warm=keep_warm)
        if keep_warm:  # So that the warming task makes the request.
            source._ensure_warm()
            await turn_until("trio", lambda: world.coordinator._wakers != {})
        header = await source.authorization()
        await source.aclose()
        await trio.sleep(1)
        return header

    assert run_in("trio", world, main)
    assert_nothing_held(world)


# Time
# ----


def test_eight_hours_of_hourly_calls_pass_in_no_time_and_cost_a_request_each(world: World) -> None:
    async def main() -> None:
        source = source_of(world, 0.5)
        for hour in range(8):
            before = trio.current_time()
            assert await source.authorization()
            assert trio.current_time() - before == pytest.approx(0.5)
            assert asked(world) == hour + 1
            await trio.sleep(3_600)

    run_in("trio", world, main)
    assert asked(world) == 8


def test_a_callers_own_deadline_counts_and_not_the_requests(world: World) -> None:
    async def main() -> None:
        source = source_of(world, 5)
        with pytest.raises(TokenUnavailable):
            await source.authorization(timeout=1)
        assert trio.current_time() == pytest.approx(1)
        with trio.move_on_after(1) as scope:
            await source.authorization(timeout=60)
        assert scope.cancelled_caught
        assert await source.authorization(timeout=60)
        assert trio.current_time() == pytest.approx(5)

    run_in("trio", world, main)
    assert asked(world) == 1


def test_a_waiter_whose_run_has_ended_is_skipped(world: World) -> None:
    tokens: list[trio.lowlevel.TrioToken] = []

    async def leave() -> None:
        tokens.append(trio.lowlevel.current_trio_token())

    trio.run(leave)
    woken = threading.Event()
    now = world.clock()
    _, request = world.coordinator._claim_or_wait(lambda: tokens[0].run_sync_soon(print), since=now, deadline=now + 10)
    world.coordinator._claim_or_wait(woken.set, since=now, deadline=now + 10)
    assert request is not None
    world.coordinator.receive_response(request, world.endpoint(request))
    assert woken.is_set()
