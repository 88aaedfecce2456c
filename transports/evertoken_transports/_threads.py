"""Starting a thread beside a caller, where one can be had; and waiting in one."""

from __future__ import annotations

import _thread
import contextvars
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

LONGEST_SLEEP = 30.0
"""Seconds. Conditions and event loops stand still during suspend, so the clock is read again this often."""


def may_start_threads() -> bool:
    """Whether a daemon thread can be had at all. The limit of threads is not looked at: only ``start`` shows that.

    None can be had in a subinterpreter that allows no daemon threads, nor once the interpreter is on its way out. In
    the last stage of that, ``Thread.start`` of Python 3.11 neither raises nor returns, so it must not be called there.
    """
    # Python 3.12 and later have this function, and their ``Thread`` raises accordingly.
    allows: Callable[[], bool] = getattr(_thread, "daemon_threads_allowed", lambda: True)
    return allows() and not sys.is_finalizing()


def start_thread(name: str, work: Callable[..., object], *arguments: object) -> bool:
    """Whether a daemon thread now does ``work(*arguments)``. If False, nothing was started, and nothing will be.

    The thread begins in an empty context. It works for everybody, so none of its log records and events belongs to the
    caller who happened to be first. (Free-threaded builds and gevent would hand the caller's context on.)
    """
    if not may_start_threads():
        return False
    run = contextvars.Context().run
    try:
        threading.Thread(target=run, args=(work, *arguments), name=name, daemon=True).start()
    except RuntimeError:
        return False
    return True


class Caller:
    """One thread that waits.

    It waits for a queue that is written in C. Whoever wakes a caller may be interrupted anywhere, and could leave the
    lock of a ``threading.Event`` held.
    """

    def __init__(self) -> None:
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.wake = partial(self._woken.put, None)

    def sleep(self, seconds: float) -> None:
        """Return after ``seconds``, or soon after ``wake`` was called since the last sleep ended."""
        with suppress(queue.Empty):
            self._woken.get(timeout=min(max(0.0, seconds), LONGEST_SLEEP))
            while True:
                self._woken.get_nowait()
