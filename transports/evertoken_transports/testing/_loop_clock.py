"""A clock that shows what the event loop takes for the time: for loops whose own time is virtual."""

from __future__ import annotations

import math

from evertoken_transports._runtime import runtime
from evertoken_transports.testing._alarms import Alarm, new_alarm
from evertoken_transports.testing._seconds import check_seconds

_TICK = 2.0**-20
"""Seconds. The times of a loop are sums of floats, and differ by less than this from the sums that are meant."""


class LoopClock:
    """What the event loop that runs takes for the time: for runs in which the loop's own time is virtual.

    That is so on a :class:`VirtualEventLoop` and on trio's ``MockClock(autojump_threshold=0)``, such as the fixture
    ``autojump_clock`` of pytest-trio. Then ``asyncio.sleep``, ``trio.sleep`` and every timeout pass in the same time as
    tokens do.

    Args:
        start: the seconds that it shows when the loop's own time is 0.

    It can be read in the event loop only; elsewhere it raises RuntimeError.
    """

    def __init__(self, start: float = 1_000.0) -> None:
        self._ahead = start
        self._sleeping: dict[Alarm, None] = {}

    def __call__(self) -> float:
        """The time in seconds, rounded up: no timer of the loop that was set by this clock is then early by it."""
        return self._ahead + math.ceil(_loop_time() / _TICK) * _TICK

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass as if the machine had been suspended: the timers of the loop do not know of them."""
        check_seconds("seconds", seconds)
        self._ahead += seconds
        for alarm in list(self._sleeping):
            alarm.ring()

    async def aadvance(self, seconds: float) -> None:
        """Do what :meth:`advance` does, and return when no other task of the loop has anything left to do then."""
        self.advance(seconds)
        await self.asettle()

    async def asettle(self) -> None:
        """Return when every other task of the loop waits: on a loop of virtual time, only then does a timer ring."""
        await new_alarm().wait(_TICK)

    async def asleep(self, seconds: float) -> None:
        """Return after ``seconds``, to which those count as well that pass by :meth:`advance`."""
        check_seconds("seconds", seconds)
        await self.asleep_until(self() + seconds)

    async def asleep_until(self, when: float, *, carries: bool = False) -> None:  # noqa: ARG002 (as VirtualClock has it)
        """Return when the clock shows ``when``."""
        while (left := when - self()) > 0.0:
            alarm = new_alarm()
            self._sleeping[alarm] = None
            try:
                await alarm.wait(left)
            finally:
                del self._sleeping[alarm]


def _loop_time() -> float:
    if runtime() == "trio":
        import trio  # noqa: PLC0415 (an extra)

        return trio.current_time()
    import asyncio  # noqa: PLC0415 (only for those who use it)

    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        raise RuntimeError("a LoopClock shows an event loop's time, and no loop runs in this thread") from None
