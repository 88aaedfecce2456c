"""Which event loop is running here: for code that serves the async clients, which run on asyncio and on trio."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

__all__ = ("Runtime", "in_thread", "runtime", "within")

Runtime = Literal["asyncio", "trio"]
_T = TypeVar("_T")


def runtime() -> Runtime:
    """The runtime of the current task. trio is asked first: where it runs as a guest, asyncio's loop runs too."""
    if "trio" in sys.modules:
        import trio  # noqa: PLC0415 (it is loaded: this costs nothing, and nothing is loaded for those without it)

        if trio.lowlevel.in_trio_task():
            return "trio"
    return "asyncio"


async def within(seconds: float, work: Awaitable[_T]) -> _T:
    """The result of ``work``; TimeoutError, and ``work`` is cancelled, after ``seconds``."""
    if runtime() == "trio":
        import trio  # noqa: PLC0415

        with trio.move_on_after(seconds):
            return await work
        raise TimeoutError
    import asyncio  # noqa: PLC0415

    async with asyncio.timeout(seconds):
        return await work


async def in_thread(work: Callable[[], _T]) -> _T:
    """The result of ``work``, done in a worker thread. A caller that is cancelled leaves it there to its end."""
    if runtime() == "trio":
        import trio  # noqa: PLC0415

        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    import asyncio  # noqa: PLC0415

    return await asyncio.to_thread(work)
