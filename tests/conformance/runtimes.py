"""What differs between threads, asyncio and trio: how a caller starts, how time passes, how to wait for the others.

Scenarios are coroutines everywhere. Under threads nothing in them is ever suspended, so that they run to their end like
plain functions.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable
from typing import Any, TypeVar, cast

import trio
import trio.testing
from typing_extensions import override

from evertoken_transports import asyncio as for_asyncio
from evertoken_transports import threads as for_threads
from evertoken_transports import trio as for_trio

__all__ = ("RUNTIMES", "Runtime", "Source", "Work", "outcome_of")

Work = Callable[[], Coroutine[object, object, None]]
Source = for_threads.TokenSource | for_asyncio.TokenSource | for_trio.TokenSource
_T = TypeVar("_T")

_PAUSE = 0.0002
"""Real seconds that are left to other threads before a condition is looked at again."""

_TURNS = 8
"""How often every task gets its turn when time has passed. From its timer to its next question a waiter needs four."""


async def outcome_of(value: _T | Awaitable[_T]) -> _T:
    """What a method of a source, an exchange or a client came to, in whichever runtime it is."""
    if isawaitable(value):
        return cast("_T", await value)
    return value


def _give_way() -> None:
    """Let other threads run: the emulator's, and those that libraries use. Event loops stand still meanwhile."""
    time.sleep(_PAUSE)


class Runtime(ABC):
    """One run of one scenario."""

    name: str
    source_class: Callable[..., Source]
    has_timers_of_its_own = True
    """Whether waiters notice by themselves that :meth:`pass_time` was called."""

    @abstractmethod
    def run(self, work: Work) -> None:
        """Run ``work`` to its end, and fail if a task is left over."""

    @abstractmethod
    def start(self, work: Work) -> None:
        """Run ``work``, which raises nothing, beside the scenario."""

    @abstractmethod
    async def pause(self) -> None:
        """Give everyone else a turn, and other threads a moment of real time."""

    @abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """The runtime's own timers move on; return when those whose time was over have had their turn."""

    @abstractmethod
    def leftovers(self) -> int:
        """Carriers of token requests that are still at work, and other tasks that the scenario did not start."""


class Threads(Runtime):
    """Callers are threads. Their timers are real and cannot be moved, so passing time wakes them instead."""

    name = "threads"
    source_class = for_threads.TokenSource
    has_timers_of_its_own = False

    def __init__(self) -> None:
        self._before = set(threading.enumerate())

    @override
    def run(self, work: Work) -> None:
        _drive(work)

    @override
    def start(self, work: Work) -> None:
        threading.Thread(target=_drive, args=(work,), name="evertoken-caller", daemon=True).start()

    @override
    async def pause(self) -> None:
        _give_way()

    @override
    async def pass_time(self, seconds: float) -> None:
        pass

    @override
    def leftovers(self) -> int:
        new = set(threading.enumerate()) - self._before
        return sum(thread.name.startswith("evertoken") for thread in new)


def _drive(work: Work) -> None:
    try:
        work().send(None)
    except StopIteration:
        return
    raise AssertionError("something was suspended under threads")


class Asyncio(Runtime):
    """Callers are tasks of a loop whose clock stands still but for :meth:`pass_time`."""

    name = "asyncio"
    source_class = for_asyncio.TokenSource

    def __init__(self) -> None:
        self._loop = _VirtualLoop()
        self._tasks: set[asyncio.Task[None]] = set()

    @override
    def run(self, work: Work) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(work())

    @override
    def start(self, work: Work) -> None:
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @override
    async def pause(self) -> None:
        await asyncio.sleep(0)
        _give_way()

    @override
    async def pass_time(self, seconds: float) -> None:
        self._loop.passed += seconds
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    @override
    def leftovers(self) -> int:
        return len(asyncio.all_tasks()) - 1


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    @override
    def time(self) -> float:
        return self.passed


class Trio(Runtime):
    """Callers are tasks of a trio run with a ``MockClock``."""

    name = "trio"
    source_class = for_trio.TokenSource

    def __init__(self) -> None:
        self._clock = trio.testing.MockClock()
        self._nursery: Any = None
        self._before = 0

    @override
    def run(self, work: Work) -> None:
        trio.run(self._main, work, clock=self._clock)

    async def _main(self, work: Work) -> None:
        async with trio.open_nursery() as self._nursery:
            self._before = trio.lowlevel.current_statistics().tasks_living
            await work()

    @override
    def start(self, work: Work) -> None:
        self._nursery.start_soon(work)

    @override
    async def pause(self) -> None:
        await trio.lowlevel.checkpoint()
        _give_way()

    @override
    async def pass_time(self, seconds: float) -> None:
        self._clock.jump(seconds)
        for _ in range(_TURNS):
            await trio.lowlevel.checkpoint()

    @override
    def leftovers(self) -> int:
        return trio.lowlevel.current_statistics().tasks_living - self._before


RUNTIMES: tuple[type[Runtime], ...] = (Threads, Asyncio, Trio)
