"""Ctrl-C at the right moment: not to processes that were started, and not between two halves of one change."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupts_ignored() -> Generator[None]:
    """Processes that are started in this block never see a Ctrl-C: it is meant for this one, which ends the others.

    A Ctrl-C that comes in the block is raised at its end, where the system can keep a signal (Windows cannot).

    Raises:
        KeyboardInterrupt: a Ctrl-C has come.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not hasattr(signal, "pthread_sigmask"):
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
        return
    resource_tracker.ensure_running()  # The first process that is spawned would start it, and let signals through.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupts_deferred() -> Generator[None]:
    """A Ctrl-C that comes in this block is raised at its end.

    Raises:
        KeyboardInterrupt: a Ctrl-C has come.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
