"""One event loop for each short job, as task queues and synchronous wrappers have it: a refresh outlives its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import trio

from evertoken_transports.asyncio import TokenSource as AsyncioSource
from tests.kits.httpx_kits import LIBRARIES, Kit
from tests.kits.loops import LOOPS, AsyncEndpoint, Loop, Source, run_in, sleep, source_in
from tests.kits.worlds import World

LIFE = 1_200.0
STEP = 30.0
JOBS = 120


def run_job(loop: Loop, work: Callable[[], Awaitable[object]]) -> object:
    """In a loop of its own, on this machine's time."""

    async def job() -> object:
        return await work()

    return trio.run(job) if loop == "trio" else asyncio.run(job())


def source_with_lasting_refreshes(loop: Loop, world: World, *, keep_warm: bool = False) -> Source:
    source = source_in(loop, world, keep_warm=keep_warm)
    source._outlive_with(world.endpoint)
    return source


@pytest.mark.parametrize("keep_warm", [False, True])
@pytest.mark.parametrize("loop", LOOPS)
def test_many_short_jobs_over_several_lives_make_one_request_for_each_and_only_the_first_waits(
    loop: Loop, keep_warm: bool
) -> None:
    world = World()
    source = source_with_lasting_refreshes(loop, world, keep_warm=keep_warm)
    at_once: list[str | None] = []

    async def job() -> None:
        at_once.append(source.authorization_nowait())
        assert await source.authorization()

    for _ in range(JOBS):
        world.endpoint.gate.clear()  # No refresh is answered before the job is over.
        if not at_once:
            world.endpoint.gate.set()
        run_job(loop, job)
        world.endpoint.gate.set()
        world.settle()
        world.clock.now += STEP
    assert at_once[0] is None
    assert None not in at_once[1:]
    lives = 1 + int((JOBS - 1) * STEP // (LIFE - STEP))
    assert len(world.token_requests()) == lives
    assert len({header for header in at_once if header}) == lives


@pytest.mark.parametrize("loop", LOOPS)
def test_a_first_request_is_carried_in_the_loop_that_waits_for_it(loop: Loop) -> None:
    world = World()
    source = source_in(loop, world)
    source._outlive_with(lambda _: pytest.fail("a thread carried it"))

    async def job() -> None:
        assert source.authorization_nowait() is None
        assert await source.authorization()

    run_job(loop, job)
    assert len(world.token_requests()) == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_in_a_simulated_loop_everything_stays_in_the_loop(loop: Loop) -> None:
    world = World()
    in_the_loop: list[float] = []

    async def main() -> None:
        endpoint = AsyncEndpoint(loop, world, 2)

        async def exchange(request: object, /) -> object:
            in_the_loop.append(world.clock())
            return await endpoint(request)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

        source = source_in(loop, world, exchange=exchange)
        source._outlive_with(lambda _: pytest.fail("a thread carried it"))
        await source.authorization()
        await sleep(loop, LIFE - 20)
        assert await source.authorization()
        await sleep(loop, 5)

    run_in(loop, world, main)
    assert len(in_the_loop) == 2


def test_where_no_thread_can_be_had_a_task_carries_the_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    source = source_with_lasting_refreshes("asyncio", world)

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def job() -> None:
        first = await source.authorization()
        world.clock.now += LIFE - 20
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", refuse)
            assert await source.authorization() == first
        for _ in range(10):
            await asyncio.sleep(0)
        assert await source.authorization() != first

    run_job("asyncio", job)
    assert len(world.token_requests()) == 2


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("loop", LOOPS)
def test_the_refresh_of_an_auth_object_outlives_the_loop_of_its_client(library: str, loop: Loop) -> None:
    kit = Kit(library, World(), loop)
    auth = kit.auth()

    async def job() -> None:
        used.append(await auth._flow.async_source().authorization())

    used: list[str] = []
    run_job(loop, job)
    kit.world.clock.now += LIFE - 20
    kit.world.endpoint.gate.clear()
    run_job(loop, job)
    kit.world.endpoint.gate.set()
    kit.world.settle()
    run_job(loop, job)
    assert [used[0] == other for other in used] == [True, True, False]
    assert len(kit.world.token_requests()) == 2
    kit.close()


def test_the_sources_default_outlives_its_loop_and_one_with_an_exchange_of_its_own_does_not() -> None:
    world = World()
    assert AsyncioSource(world.grant, coordinator=world.coordinator)._lasting is not None
    assert source_in("asyncio", world)._lasting is None
