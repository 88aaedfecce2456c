"""Alarms: a thread, or a task of asyncio or trio, waits until somebody rings. Any thread may ring."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from evertoken_transports._runtime import runtime


class ThreadAlarm:
    """An alarm for a thread that waits."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self.ring: Callable[[], object] = self._rung.set

    def wait(self, seconds: float) -> bool:
        """Wait until the alarm rings, for at most ``seconds`` of real time. Returns whether it has rung."""
        return self._rung.wait(seconds)


class Alarm(Protocol):
    """An alarm for a task that waits."""

    ring: Callable[[], object]
    """Rings the alarm, from any thread. Raises if the event loop of the task has ended."""

    async def wait(self, seconds: float) -> bool:
        """Wait until the alarm rings, for at most ``seconds`` of the event loop's time. Returns whether it has rung."""
        ...


def new_alarm() -> Alarm:
    """An alarm for the current task, of asyncio or trio."""
    return _TrioAlarm() if runtime() == "trio" else _AsyncioAlarm()


def this_one() -> object:
    """The current task, or the ident of this thread if no task runs in it."""
    if runtime() == "trio":
        import trio  # noqa: PLC0415 (it is loaded)

        return trio.lowlevel.current_task()
    if "asyncio" in sys.modules:
        import asyncio  # noqa: PLC0415 (it is loaded)

        with suppress(RuntimeError):
            return asyncio.current_task() or threading.get_ident()
    return threading.get_ident()


def in_event_loop() -> bool:
    """Whether an event loop runs in this thread, so that a thread's wait would hold up every task of the loop."""
    if "asyncio" in sys.modules:
        import asyncio  # noqa: PLC0415 (it is loaded)

        with suppress(RuntimeError):
            return asyncio.get_running_loop() is not None
    if "trio" in sys.modules:
        import trio  # noqa: PLC0415 (it is loaded)

        return trio.lowlevel.in_trio_run()
    return False


def is_paused(who: object) -> bool:
    """Whether ``who``, which :func:`this_one` gave, is a task of asyncio that cannot act, as its loop does not run."""
    loop: Callable[[], Any] | None = getattr(who, "get_loop", None)
    return loop is not None and not loop().is_running()


async def turn() -> None:
    """Give the other tasks of the current event loop their turn. A cancellation of this task arrives here."""
    if runtime() == "trio":
        import trio  # noqa: PLC0415 (an extra)

        await trio.lowlevel.checkpoint()
    else:
        import asyncio  # noqa: PLC0415 (only for those who use it)

        await asyncio.sleep(0)


class _AsyncioAlarm:
    def __init__(self) -> None:
        import asyncio  # noqa: PLC0415 (only for those who use it)

        loop, self._rung = asyncio.get_running_loop(), asyncio.Event()
        self.ring: Callable[[], object] = lambda: loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, seconds: float) -> bool:
        import asyncio  # noqa: PLC0415

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        return self._rung.is_set()


class _TrioAlarm:
    def __init__(self) -> None:
        import trio  # noqa: PLC0415 (an extra)

        token, self._rung = trio.lowlevel.current_trio_token(), trio.Event()
        self.ring: Callable[[], object] = lambda: token.run_sync_soon(self._rung.set)

    async def wait(self, seconds: float) -> bool:
        import trio  # noqa: PLC0415

        with trio.move_on_after(seconds):
            await self._rung.wait()
        return self._rung.is_set()
