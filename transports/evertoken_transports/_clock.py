"""The clocks: one that goes on while the machine sleeps, and one that also notices when a whole host was paused.

Clocks give seconds as float, from any origin, and never run backwards. Each call for a token reads one, so the default
is a callable written in C wherever there is one.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

Clock = Callable[[], float]
"""Seconds from any origin, never backwards: what ``now`` and every deadline are measured on."""


def _choose_clock() -> Clock:
    """The cheapest clock of this platform that counts suspended time.

    ``time.monotonic`` stops during suspend on Linux and macOS, and counts it on Windows.
    """
    if sys.platform == "linux":
        return _if_it_works(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return _if_it_works(time.CLOCK_MONOTONIC_RAW)
    return time.monotonic


def _if_it_works(clock_id: int) -> Clock:
    """The clock ``clock_id``; ``time.monotonic`` where the kernel does not know it, as in some sandboxes."""
    # A partial is called without a Python frame: measured, it costs two thirds of a lambda.
    clock: Clock = partial(time.clock_gettime, clock_id)
    try:
        clock()
    except OSError:
        return time.monotonic
    return clock


suspend_aware_clock: Clock = _choose_clock()
"""The default clock: monotonic seconds that go on during suspend.

``CLOCK_BOOTTIME`` on Linux, ``CLOCK_MONOTONIC_RAW`` on macOS, else ``time.monotonic``. Setting the wall clock does not
move it. It is the same for all processes of one machine, and starts anew when that machine is booted.
"""


def watchful_clock(*, base: Clock = suspend_aware_clock, wall: Clock = time.time, tolerance: float = 1.0) -> Clock:
    """A new clock that adds to ``base`` what ``wall`` advanced beyond it, for hosts that are paused and restored.

    A virtual machine that is paused, or restored from a snapshot, stops all its own clocks. What betrays the pause is
    the wall clock, once something sets it right. From then on this clock counts the pause as time that has passed, so
    that a token which expired meanwhile is not handed out.

    Forward only: setting the wall clock back does nothing, and neither does setting it forward again to where it has
    been before. So two time services that quarrel cannot make time run faster; but of a pause that follows a step back,
    only what exceeds the step is seen. Any step forward counts as a pause, also the one by which a host without a
    battery clock learns the date: the token is then fetched anew, and waits are over.

    Args:
        base: a clock as :data:`suspend_aware_clock`.
        wall: seconds since the epoch, as ``time.time``; it may step in both directions.
        tolerance: seconds. Smaller differences are not added until they have grown to more than this, so that the
            noise between two clocks never becomes time.

    The clock that is returned may be read from any thread, and after ``os.fork``. It costs two readings and a function
    call, several times as much as ``base`` alone.

    Raises:
        ValueError: ``tolerance`` is negative, not finite, or not a number.
    """
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0.0 <= tolerance < math.inf:
        raise ValueError(f"tolerance is in seconds: a finite number of at least 0, not {tolerance!r}")
    origin = wall() - base()
    added = 0.0

    def read() -> float:
        nonlocal added
        # In this order a thread that is held up between the two readings sees too small an advance, never too large.
        told = wall()
        now = base()
        advance = told - origin - now
        if advance - added > tolerance:
            with _raising:
                added = max(added, advance)
        return now + added

    return read


def _make_lock_anew() -> None:
    """In a forked child: the lock may be held by a thread that is not here."""
    global _raising  # noqa: PLW0603 (the one lock of all watchful clocks: it is taken only when a pause is noticed)
    _raising = threading.Lock()


_raising = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_make_lock_anew)
