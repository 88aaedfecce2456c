"""Waiting until somebody rings, in whichever runtime one is. Ringing is allowed from any thread."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from evertoken_transports._runtime import runtime

__all__ = ("Alarm", "ThreadAlarm", "new_alarm", "this_one")


class ThreadAlarm:
    """For a thread."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self.ring: Callable[[], object] = self._rung.set

    def wait(self) -> None:
        """Return as soon as it has rung."""
        self._rung.wait()


class Alarm(Protocol):
    """For a task."""

    ring: Callable[[], object]
    """Raises if the event loop is gone."""

    async def wait(self, seconds: float = math.inf) -> None:
        """Return as soon as it has rung, or after ``seconds`` of the event loop's time."""
        ...


def new_alarm() -> Alarm:
    """An alarm for the task that runs."""
    return _TrioAlarm() if runtime() == "trio" else _AsyncioAlarm()


def this_one() -> object:
    """The task that runs, or the thread if no task does."""
    if runtime() == "trio":
        import trio  # noqa: PLC0415 (it is loaded)

        return trio.lowlevel.current_task()
    if "asyncio" in sys.modules:
        import asyncio  # noqa: PLC0415 (it is loaded)

        with suppress(RuntimeError):
            return asyncio.current_task() or threading.get_ident()
    return threading.get_ident()


class _AsyncioAlarm:
    def __init__(self) -> None:
        import asyncio  # noqa: PLC0415 (only for those who use it)

        loop, self._rung = asyncio.get_running_loop(), asyncio.Event()
        self.ring: Callable[[], object] = lambda: loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, seconds: float = math.inf) -> None:
        import asyncio  # noqa: PLC0415

        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._rung.wait()
        except TimeoutError:
            return


class _TrioAlarm:
    def __init__(self) -> None:
        import trio  # noqa: PLC0415 (an extra)

        token, self._rung = trio.lowlevel.current_trio_token(), trio.Event()
        self.ring: Callable[[], object] = lambda: token.run_sync_soon(self._rung.set)

    async def wait(self, seconds: float = math.inf) -> None:
        import trio  # noqa: PLC0415

        with trio.move_on_after(seconds):
            await self._rung.wait()
