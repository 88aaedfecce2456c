"""Event loops, of asyncio and trio, whose time passes only when no task can go on, and ways to stop what runs there."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any, Literal, TypeVar

import trio
from trio.testing import MockClock

from evertoken import HttpResponse, RequestState, TokenRequest
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.trio import TokenSource as TrioSource
from tests.kits.worlds import LIMIT, Clock, Endpoint, World

__all__ = (
    "LOOPS",
    "AsyncEndpoint",
    "Loop",
    "Source",
    "VirtualLoop",
    "all_of",
    "assert_nothing_held",
    "run_in",
    "sleep",
    "source_in",
    "struck",
    "turn_until",
    "within",
)

Loop = Literal["asyncio", "trio"]
LOOPS: tuple[Loop, ...] = ("asyncio", "trio")
Source = AsyncioSource | TrioSource
_T = TypeVar("_T")


class _JumpingSelector(selectors.DefaultSelector):
    """Never sleeps: where the loop would, the clock jumps to the end of that sleep."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._world_clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # No timer is set, so that another thread has to bring something about.
            ready = super().select(LIMIT)
            assert ready, "the event loop is stuck"
            return ready
        ready = super().select(0)
        if not ready and timeout > 0:
            self._world_clock.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on a clock of the test."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._world_clock = clock

    def time(self) -> float:
        return self._world_clock()


class _TrioTime(Clock):
    """The world's clock, which goes on with trio's virtual one."""

    def __init__(self, clock: MockClock, start: float) -> None:
        super().__init__(start)
        self._clock = clock

    def __call__(self) -> float:
        return self.now + self._clock.current_time()

    def goes_on_with(self, clock: MockClock) -> None:
        """Let the next run, which has ``clock``, begin when the last one ended."""
        self.now, self._clock = self() - clock.current_time(), clock


def run_in(loop: Loop, world: World, work: Callable[[], Awaitable[_T]]) -> _T:
    """What ``work`` returns, in a new loop in whose virtual time the clock of ``world`` goes on.

    A world that is new to trio is given another clock there, and with it another endpoint and coordinator.
    """

    async def do() -> _T:
        return await work()

    if loop == "asyncio":
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(world.clock)) as runner:
            return runner.run(do())
    clock = MockClock(autojump_threshold=0)
    if isinstance(world.clock, _TrioTime):
        world.clock.goes_on_with(clock)
    else:
        world.clock = _TrioTime(clock, world.clock.now)
        world.endpoint = Endpoint(world.server, world.clock)
        world.coordinator = world.new_coordinator()
    return trio.run(do, clock=clock)


async def sleep(loop: Loop, seconds: float) -> None:
    """Let ``seconds`` of that loop's time pass."""
    if loop == "trio":
        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def turn_until(loop: Loop, condition: Callable[[], bool]) -> None:
    """Give other tasks their turns, without letting time pass, until ``condition`` holds."""
    for _ in range(100_000):
        if condition():
            return
        await sleep(loop, 0)
    raise AssertionError("the condition did not come about")


async def within(loop: Loop, seconds: float, work: Coroutine[Any, Any, _T]) -> _T | None:
    """What ``work`` returns; None if it was cancelled because it took longer."""
    if loop == "trio":
        with trio.move_on_after(seconds):
            return await work
        return None
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await work
    return None


async def all_of(loop: Loop, *works: Callable[[], Awaitable[_T]]) -> list[_T]:
    """What each of ``works`` returns, in the order in which they end."""
    results: list[_T] = []

    async def run(work: Callable[[], Awaitable[_T]]) -> None:
        results.append(await work())

    if loop == "trio":
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(run, work)
    else:
        await asyncio.gather(*map(run, works))
    return results


class AsyncEndpoint:
    """An exchange that asks the world's model at once, and gives its answer ``seconds`` later."""

    def __init__(self, loop: Loop, world: World, seconds: float = 0.0) -> None:
        self._loop: Loop = loop
        self._world = world
        self.seconds = seconds

    async def __call__(self, request: TokenRequest, /) -> HttpResponse:
        answer = self._world.endpoint(request)
        await sleep(self._loop, self.seconds)
        return answer


def source_in(loop: Loop, world: World, **options: Any) -> Source:  # noqa: ANN401 (those of either source)
    """A source of that loop's kind, on the world's coordinator; its endpoint answers in the next turn."""
    options.setdefault("coordinator", world.coordinator)
    options.setdefault("exchange", AsyncEndpoint(loop, world))
    if loop == "trio":
        return TrioSource(world.grant, **options)
    return AsyncioSource(world.grant, **options)


@coroutine
def struck(work: Coroutine[Any, Any, _T], strike: Callable[[int], object]) -> Generator[Any, Any, _T]:
    """Run ``work``, and call ``strike(n)`` when it is about to be suspended for the n-th time, counted from 0."""
    resume: Callable[[Any], Any] = work.send
    value: Any = None
    number = 0
    while True:
        try:
            trap = resume(value)
        except StopIteration as end:
            result: _T = end.value
            return result
        strike(number)
        number += 1
        try:
            resume, value = work.send, (yield trap)
        except BaseException as error:  # noqa: BLE001 (it is handed on to ``work``)
            resume, value = work.throw, error


def assert_nothing_held(world: World) -> None:
    """No caller is remembered, no request is under way, the lock is free, and no failure has been counted."""
    coordinator = world.coordinator
    assert coordinator._wakers == {}
    assert not coordinator._is_inside()
    assert coordinator.machine.request_state(world.clock()) is not RequestState.IN_FLIGHT
    assert coordinator.explain().failures == 0
