"""Virtual time: a clock of its own for any test, and one that shows what the event loop takes for the time.

:class:`VirtualClock` needs nothing of the runtime, and so serves threads, asyncio and trio alike, all at the same time.
It knows who waits for it, since the pieces of this package tell it: callers who wait for a token, requests under way,
and whoever sleeps on it. When all of them wait, and one of them for a moment, it goes to the earliest such moment.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from typing import NamedTuple

from evertoken_transports._moves import Waker
from evertoken_transports._runtime import runtime
from evertoken_transports.testing._alarms import Alarm, ThreadAlarm, new_alarm, this_one

__all__ = ("LoopClock", "VirtualClock")

_TICK = 2.0**-20
"""Seconds. Times of a loop, which come out of sums of floats, differ by less than this from what they should be."""


_STUCK_AFTER = 20.0
"""Real seconds that callers in other threads are given to come."""


class _Appointment(NamedTuple):
    when: float
    is_patient: bool
    """Whether it does not make time pass, and only wants to be told of it."""
    carries: bool
    """Whether it belongs to a token request that is under way. That is patient, too: those who need it wait as well."""
    who: object
    """The task or thread that waits."""


class VirtualClock:
    """Seconds that pass when somebody waits for them, or when the test says so.

    Nothing takes real time. A caller who waits for the answer of a slow endpoint, for the end of a back-off or for its
    own deadline has it at once, and the clock then shows the moment at which it came. The clock moves only when every
    caller and every request that it knows of waits, and then to the earliest moment that one of them waits for. A
    request that nobody waits for, and what keeps a token warm, are told of the time and do not make it pass.

    What it does not know is the test's own code. A test that starts callers in the background uses :meth:`gathering`,
    or sets :attr:`autojump` to False and moves the clock itself.

    Args:
        now: what it shows at first.
        autojump: the first value of :attr:`autojump`.

    Safe to use from any thread and event loop.
    """

    autojump: bool
    """Whether time passes by itself when everybody waits. If False, only :meth:`advance` moves the clock."""

    def __init__(self, now: float = 1_000.0, *, autojump: bool = True) -> None:
        self.autojump = autojump
        self._now = now
        self._lock = threading.Condition()
        self._appointments: dict[Waker, _Appointment] = {}
        self._running: dict[Waker, object] = {}
        self._flying: set[Hashable] = set()

    def __call__(self) -> float:
        """The time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at one go, as when the machine was suspended: everybody wakes up at the end of them."""
        _check(seconds)
        with self._lock:
            self._now += seconds
            due = self._take_due()
        self._wake(due)

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass step by step: whatever is to happen meanwhile happens at its moment. For threads."""
        _check(seconds)
        self.sleep_until(self() + seconds)

    async def asleep(self, seconds: float) -> None:
        """The same for tasks of asyncio and trio."""
        _check(seconds)
        await self.asleep_until(self() + seconds)

    def sleep_until(self, when: float, *, carries: bool = False) -> None:
        """Return when the clock shows ``when``. ``carries`` is for what carries a token request."""
        alarm = ThreadAlarm()
        try:
            self.wake_at(when, alarm.ring, carries=carries)
            alarm.wait()
        finally:
            self.forget(alarm.ring)

    async def asleep_until(self, when: float, *, carries: bool = False) -> None:
        """The same for tasks of asyncio and trio."""
        alarm = new_alarm()
        try:
            self.wake_at(when, alarm.ring, carries=carries)
            await alarm.wait()
        finally:
            self.forget(alarm.ring)

    @contextmanager
    def gathering(self, callers: int) -> Generator[None]:
        """Time stands still until so many callers wait, in threads that the block starts: they all come at one moment.

        Without it time may pass between the first of them and the last, as it may with threads anyway.

        Raises:
            TimeoutError: at the end of the block, if they have not come within 20 real seconds.
        """
        self.autojump, before = False, self.autojump
        try:
            yield
            with self._lock:
                if not self._lock.wait_for(lambda: self._waiting() >= callers and self._is_at_rest(), _STUCK_AFTER):
                    raise TimeoutError(
                        f"{self._waiting()} of {callers} callers wait; the others were served, or have no thread"
                    )
        finally:
            self.autojump = before
        self._pass_time()

    # For the pieces of this package
    # ------------------------------

    def wake_at(self, when: float, waker: Waker, *, is_patient: bool = False, carries: bool = False) -> None:
        """``waker`` waits, and is called when the clock shows ``when``. From then on it counts as running."""
        who = this_one()
        with self._lock:
            self._running.pop(waker, None)
            patient = is_patient or (carries and who not in self._running.values())
            self._appointments[waker] = _Appointment(when, patient, carries, who)
            self._lock.notify_all()
            due = self._take_due()
        self._wake(due)
        self._pass_time()

    def stir(self, waker: Waker, who: object = None) -> None:
        """``waker`` is about to do something, and waits for no moment now. ``who`` is its task or thread, if known."""
        with self._lock:
            waited = self._appointments.pop(waker, None)
            self._running[waker] = who if waited is None else waited.who

    def forget(self, waker: Waker) -> None:
        """``waker`` has gone."""
        with self._lock:
            self._appointments.pop(waker, None)
            self._running.pop(waker, None)
            self._lock.notify_all()
        self._pass_time()

    def took_off(self, request: Hashable) -> None:
        """A token request is under way: time stands still unless whatever carries it says that it waits."""
        with self._lock:
            self._flying.add(request)

    def landed(self, request: Hashable) -> None:
        """It has come to its outcome."""
        with self._lock:
            self._flying.discard(request)
            self._lock.notify_all()
        self._pass_time()

    def _pass_time(self) -> None:
        """If everybody waits, go to the earliest moment that anybody waits for."""
        while True:
            with self._lock:
                if not self.autojump or not self._is_at_rest() or not self._is_pressed():
                    return
                self._now = max(self._now, min(appointment.when for appointment in self._appointments.values()))
                due = self._take_due()
            self._wake(due)

    def _waiting(self) -> int:
        return sum(not appointment.is_patient for appointment in self._appointments.values())

    def _is_at_rest(self) -> bool:
        """Whether no caller and no request does anything before time has passed.

        A caller who carries its request itself counts as running meanwhile, and waits all the same.
        """
        carried = sum(appointment.carries for appointment in self._appointments.values())
        waiting = {appointment.who for appointment in self._appointments.values()}
        return waiting.issuperset(self._running.values()) and len(self._flying) <= carried

    def _is_pressed(self) -> bool:
        return any(not one.is_patient and one.when < math.inf for one in self._appointments.values())

    def _take_due(self) -> list[Waker]:
        due = [waker for waker, appointment in self._appointments.items() if appointment.when <= self._now]
        due.sort(key=lambda waker: self._appointments[waker].when)
        for waker in due:
            self._running[waker] = self._appointments.pop(waker).who
        return due

    def _wake(self, due: list[Waker]) -> None:
        """Never called under the lock."""
        for waker in due:
            try:
                waker()
            except Exception:  # noqa: BLE001 (its event loop is gone)
                with self._lock:
                    self._running.pop(waker, None)


class LoopClock:
    """What the event loop that runs takes for the time: for runs in which the loop's own time is virtual.

    That is so on a :class:`VirtualEventLoop` and on trio's ``MockClock(autojump_threshold=0)``, such as the fixture
    ``autojump_clock`` of pytest-trio. Then ``asyncio.sleep``, ``trio.sleep`` and every timeout pass in the same time as
    tokens do.

    Args:
        start: what it shows when the loop's own time is 0.

    It can be read in the event loop only.
    """

    def __init__(self, start: float = 1_000.0) -> None:
        self._ahead = start
        self._sleeping: dict[Alarm, None] = {}

    def __call__(self) -> float:
        """The time, in seconds: the next whole tick, so that no timer that was set by this clock is early on it."""
        return self._ahead + math.ceil(_loop_time() / _TICK) * _TICK

    def advance(self, seconds: float) -> None:
        """The machine is suspended for ``seconds``: time has passed, and the timers of the loop do not know of it."""
        _check(seconds)
        self._ahead += seconds
        for alarm in list(self._sleeping):
            alarm.ring()

    async def asleep(self, seconds: float) -> None:
        """Return after ``seconds``, those of a suspend among them."""
        _check(seconds)
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

    return asyncio.get_running_loop().time()


def _check(seconds: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0.0 <= seconds < math.inf:
        raise ValueError(f"seconds must be a finite number that is not negative, not {seconds!r}")
