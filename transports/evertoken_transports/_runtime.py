"""Which event loop is running here, and what such a loop is asked for: a time limit, a thread, and why a task ends.

For code that runs on asyncio and on trio alike.
"""

from __future__ import annotations

import contextvars
import math
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, Literal, TypeVar

from typing_extensions import override

from evertoken_transports._threads import start_thread

Runtime = Literal["asyncio", "trio"]
_T = TypeVar("_T")


def runtime() -> Runtime:
    """The runtime of the current task. trio is asked first: where it runs as a guest, asyncio's loop runs too."""
    # A trio without this name is older than what is supported, or only half imported: no task of it runs here.
    in_trio_task = getattr(getattr(sys.modules.get("trio"), "lowlevel", None), "in_trio_task", None)
    return "trio" if in_trio_task is not None and in_trio_task() else "asyncio"


_LONGEST_TURN = 5.0
"""Seconds by which the time of a real loop may lag behind this machine's: some read the clock once in each turn."""


def is_simulated() -> bool:
    """Whether the time of the event loop that runs here is not that of this machine.

    If so, no work may be given to a thread, since the simulated time would jump over what the thread does.
    """
    if runtime() == "asyncio":
        import asyncio  # noqa: PLC0415

        with suppress(RuntimeError):  # In a callback of trio there is no task, and no loop of asyncio either.
            return abs(asyncio.get_running_loop().time() - time.monotonic()) > _LONGEST_TURN
    import trio  # noqa: PLC0415

    return type(trio.lowlevel.current_clock()).__name__ != "SystemClock"  # trio gives that class no public name.


def is_cancelled_inside(error: BaseException) -> bool:
    """Whether a cancellation of asyncio befell what was awaited here, and not the task that awaits it.

    Whoever carries a request must take it for a failure, which a back-off follows. If it counted as the end of the
    carrier, the request would be abandoned and sent again at once, until the budget is spent. (trio cancels only whole
    scopes, so that a cancellation there is always the task's own.)
    """
    asyncio = sys.modules.get("asyncio")  # Where it was never imported, it has cancelled nothing.
    if asyncio is None or not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return True  # In a thread without a loop nobody can be cancelled.
    return task is None or not task.cancelling()


def ends_the_task(error: BaseException) -> bool:
    """Whether what was awaited ended because its task does: by an interruption, an exit or a cancellation.

    Anything else is a failure of what was awaited, whatever class its author derived it from.
    """
    if isinstance(error, Exception) or is_cancelled_inside(error):
        return False
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    cancellations = (getattr(asyncio, "CancelledError", None), getattr(trio, "Cancelled", None))
    ends = (KeyboardInterrupt, SystemExit, GeneratorExit, BaseExceptionGroup)
    return isinstance(error, (*ends, *(kind for kind in cancellations if kind is not None)))


class Limit:
    """By this, the work that ``within`` waits for can shorten the time that it has."""

    shorten: Callable[[float], None]
    """Let no more than so many seconds pass from now on. ``within`` sets this when it begins to wait."""


async def within(seconds: float, work: Awaitable[_T], limit: Limit | None = None) -> _T:
    """The result of ``work``. After ``seconds`` it is cancelled, and TimeoutError is raised."""
    limit = limit or Limit()
    if runtime() == "trio":
        import trio  # noqa: PLC0415

        with trio.move_on_after(seconds) as scope:
            limit.shorten = lambda left: setattr(scope, "deadline", min(scope.deadline, trio.current_time() + left))
            return await work
        raise TimeoutError
    import asyncio  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds) as timeout:
        limit.shorten = lambda left: timeout.reschedule(min(timeout.when() or math.inf, loop.time() + left))
        return await work


async def in_thread(work: Callable[[], _T]) -> _T:
    """The result of ``work``, done in a thread of its own. If the caller is cancelled, the thread goes on to the end.

    Neither asyncio's pool nor trio's limit of threads is used: callers that wait for the very token that this work is
    for may hold all of those threads.
    """
    if runtime() == "trio":
        import trio  # noqa: PLC0415

        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    import asyncio  # noqa: PLC0415

    # By way of the loop, because a simulated one does the work itself, in its own time.
    return await asyncio.get_running_loop().run_in_executor(OwnThread(), contextvars.copy_context().run, work)


class OwnThread(Executor):
    """Does each piece of work in a new daemon thread, for which nobody waits at exit.

    Where no thread can be started, the work is done at once by whoever submits it.
    """

    @override
    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        future: Future[_T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 (it is raised to whoever waits for the result)
                    future.set_exception(error)

        if not start_thread("evertoken-work", run):
            run()
        return future
