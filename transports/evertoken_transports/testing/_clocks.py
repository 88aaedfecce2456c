"""Virtual time for any test, without help from the runtime.

:class:`VirtualClock` needs nothing of the runtime, and so serves threads, asyncio and trio alike, all at the same time.
It knows who waits for it, since the pieces of this package tell it: callers who wait for a token, requests under way,
and whoever sleeps on it. When all of them wait, and some caller among them for a moment, it goes to the earliest moment
that any of them waits for.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from typing import NamedTuple

from evertoken_transports._coordinator import Waker
from evertoken_transports.testing._alarms import ThreadAlarm, in_event_loop, is_paused, new_alarm, this_one, turn
from evertoken_transports.testing._seconds import check_seconds
from evertoken_transports.testing._standstill import Standstill

_LONGEST_PAUSE = 30.0
"""Real seconds after which, at the latest, whoever waits looks whether time stands still, by the ``stuck_after`` of
then: it may have been changed meanwhile."""


_SECOND_LOOK = 0.1
"""The share of ``stuck_after`` that passes between the first sign that time stands still and the complaint."""


class _Appointment(NamedTuple):
    when: float
    is_patient: bool
    """Whether this wait does not make time pass, and only ends when time has passed for others."""
    carries: bool
    """Whether this is the wait of a token request that is under way. It is patient, since those who need the token
    wait as well; unless one of them carries the request itself."""
    who: object
    """The task or thread that waits."""


class VirtualClock:
    """Seconds that pass when somebody waits for them, or when the test says so.

    Nothing takes real time. A caller who waits for the answer of a slow endpoint, for the end of a back-off or for its
    own deadline has it at once, and the clock then shows the moment at which it came. The clock moves only when every
    caller and every request that it knows of waits, and then to the earliest moment that one of them waits for. A
    request that nobody waits for, and what keeps a token warm, do not make time pass; they act when it does.

    The clock does not know of the test's own code. A test that starts callers in the background uses :meth:`gathering`,
    or sets :attr:`autojump` to False and moves the clock itself.

    Whoever waits while nothing at all happens on the clock for :attr:`stuck_after` real seconds gets a RuntimeError,
    which says who waits, who is at work, and what to do.

    Args:
        now: the seconds that it shows at first.
        autojump: the first value of :attr:`autojump`.
        stuck_after: the first value of :attr:`stuck_after`.

    Raises:
        ValueError: ``stuck_after`` is negative or no number.

    Safe to use from any thread and event loop.
    """

    stuck_after: float
    """Real seconds, which any step of a caller or of a request begins anew. Set it to ``math.inf`` for a debugger."""

    def __init__(self, now: float = 1_000.0, *, autojump: bool = True, stuck_after: float = 20.0) -> None:
        self.stuck_after = stuck_after
        self._autojump = autojump
        self._now = now
        self._moved_at = time.monotonic()
        self._suspected_at: dict[Hashable, float] = {}
        self._lock = threading.Condition()
        self._appointments: dict[Waker, _Appointment] = {}
        self._running: dict[Waker, object] = {}
        self._flying: set[Hashable] = set()
        check_seconds("stuck_after", stuck_after, endless=True)

    def __call__(self) -> float:
        """The time, in seconds."""
        return self._now

    def __repr__(self) -> str:
        return (
            f"<VirtualClock at {self._now:.10g}: {len(self._appointments)} wait, {len(self._running)} at work, "
            f"{len(self._flying)} token requests under way{'' if self._autojump else ', autojump off'}>"
        )

    @property
    def autojump(self) -> bool:
        """Whether time passes by itself when everybody waits. If False, only :meth:`advance` moves the clock."""
        return self._autojump

    @autojump.setter
    def autojump(self, autojump: bool) -> None:
        self._autojump = autojump
        with self._lock:
            self._moved()
        self._pass_time()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at one go, as when the machine was suspended. Whoever is due by then wakes at the end.

        It returns when those whom it woke are at rest again: they wait for a later moment, or have what they came for.
        In a thread that runs an event loop it cannot wait for them: ``await aadvance()`` there.

        Raises:
            RuntimeError: they did not come to rest in :attr:`stuck_after` real seconds.
            ValueError: ``seconds`` is negative or not finite.
        """
        before = self._jump(seconds)
        if not in_event_loop():
            self._settle(*before)
        self._pass_time()

    async def aadvance(self, seconds: float) -> None:
        """Do what :meth:`advance` does, for tasks of asyncio and trio."""
        await self._asettle(*self._jump(seconds))
        self._pass_time()

    def settle(self) -> None:
        """Return when every caller and request is at rest: it waits for a later moment, or has come to its end.

        No time passes. A request that was started beside its caller, in a thread of its own, has arrived by then.

        Raises:
            RuntimeError: they did not come to rest in :attr:`stuck_after` real seconds; or an event loop runs in this
                thread, whose tasks could do nothing meanwhile: ``await asettle()`` there.
        """
        if in_event_loop():
            raise RuntimeError("settle() would hold up the event loop that runs in this thread: await asettle()")
        self._settle()

    async def asettle(self) -> None:
        """Do what :meth:`settle` does, for tasks of asyncio and trio."""
        await turn()  # A task that was just started takes its first step now, and is known here from then on.
        await self._asettle()

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass step by step: whatever is to happen meanwhile happens at its moment. For threads.

        Raises:
            RuntimeError: an event loop runs in this thread, whose tasks could do nothing meanwhile; or nothing happened
                for :attr:`stuck_after` real seconds.
            ValueError: ``seconds`` is negative or not finite.
        """
        check_seconds("seconds", seconds)
        if in_event_loop():
            raise RuntimeError("sleep() would hold up the event loop that runs in this thread: await asleep()")
        self.sleep_until(self() + seconds)

    async def asleep(self, seconds: float) -> None:
        """Do what :meth:`sleep` does, for tasks of asyncio and trio."""
        check_seconds("seconds", seconds)
        await self.asleep_until(self() + seconds)

    def sleep_until(self, when: float, *, carries: bool = False) -> None:
        """Return when the clock shows ``when``. ``carries`` says that a token request under way waits by this.

        Raises:
            RuntimeError: ``when`` is ``math.inf``, or nothing happened for :attr:`stuck_after` real seconds.
        """
        if when == math.inf:
            raise RuntimeError("this thread would wait for ever, for an answer that never comes: give it a timeout")
        alarm = ThreadAlarm()
        try:
            self.wake_at(when, alarm.ring, carries=carries)
            while not alarm.wait(self.pause()):
                self.check_progress(alarm.ring)
        finally:
            self.forget(alarm.ring)

    async def asleep_until(self, when: float, *, carries: bool = False) -> None:
        """Do what :meth:`sleep_until` does, for tasks of asyncio and trio.

        Until ``math.inf`` is allowed, since a task can be cancelled.
        """
        alarm = new_alarm()
        try:
            self.wake_at(when, alarm.ring, carries=carries)
            while not await alarm.wait(self.pause()):
                self.check_progress(alarm.ring)
        finally:
            self.forget(alarm.ring)

    @contextmanager
    def gathering(self, callers: int) -> Generator[None]:
        """Let time stand still until so many callers wait, in threads that the block starts, so that they come at once.

        Without it time may pass between the first of them and the last, as it may with threads anyway.

        Raises:
            TimeoutError: at the end of the block, if they have not come within :attr:`stuck_after` real seconds.
            RuntimeError: an event loop runs in this thread. Its tasks need no gathering: those that are started before
                the next ``await`` come at one moment.
            ValueError: ``callers`` is less than 1.
        """
        if callers < 1:
            raise ValueError(f"callers must be at least 1, not {callers!r}")
        if in_event_loop():
            raise RuntimeError("gathering() is for threads: tasks started before the next await come at one moment")
        self._autojump, before = False, self._autojump
        try:
            yield
            self._await_callers(callers)
        finally:
            self.autojump = before

    def _await_callers(self, callers: int) -> None:
        with self._lock:
            patience = None if self.stuck_after == math.inf else self.stuck_after
            if not self._lock.wait_for(lambda: self._waiting() >= callers and self._is_at_rest(), patience):
                raise TimeoutError(
                    f"{self._waiting()} of {callers} callers wait; the others were served, or have no thread"
                )

    # For the pieces of this package
    # ------------------------------

    def wake_at(self, when: float, waker: Waker, *, is_patient: bool = False, carries: bool = False) -> None:
        """Note that ``waker`` waits. It is called when the clock shows ``when``, and counts as running from then on.

        A wait that ``is_patient`` does not make time pass, nor does one that ``carries`` a token request for others.
        """
        who = this_one()
        with self._lock:
            if waker not in self._running and waker not in self._appointments:
                self._moved()
            self._running.pop(waker, None)
            patient = is_patient or (carries and who not in self._running.values())
            self._appointments[waker] = _Appointment(when, patient, carries, who)
            self._lock.notify_all()
            due = self._take_due()
        self._wake(due)
        self._pass_time()

    def stir(self, waker: Waker, who: object = None) -> None:
        """Note that ``waker`` is about to act, and waits for no moment now. ``who`` is its task or thread, if known."""
        with self._lock:
            waited = self._appointments.pop(waker, None)
            self._running[waker] = who if waited is None else waited.who

    def forget(self, waker: Waker) -> None:
        """Note that ``waker`` has gone: if it was at work it has come to its end, and if it waited it has given up."""
        with self._lock:
            self._appointments.pop(waker, None)
            if waker in self._running:
                del self._running[waker]
                self._moved()
            self._lock.notify_all()
        self._pass_time()

    def took_off(self, request: Hashable) -> None:
        """Note that ``request`` is under way. Time stands still unless whatever carries it says that it waits."""
        with self._lock:
            self._flying.add(request)
            self._moved()

    def landed(self, request: Hashable) -> None:
        """Note that ``request`` has come to its outcome."""
        with self._lock:
            self._flying.discard(request)
            self._moved()
        self._pass_time()

    def wake_carriers(self) -> None:
        """Wake whatever carries a request and waits, ahead of time: its connection may have ended."""
        with self._lock:
            carriers = [waker for waker, appointment in self._appointments.items() if appointment.carries]
        for waker in carriers:
            self.stir(waker)
        self._wake(carriers)

    def pause(self) -> float:
        """Real seconds after which whoever waits is to call :meth:`check_progress`."""
        return min(self.stuck_after * (_SECOND_LOOK if self._suspected_at else 1.0), _LONGEST_PAUSE)

    def check_progress(self, waker: Waker) -> None:
        """Raise RuntimeError, with a full account, if ``waker`` waits impatiently and nothing happens any more."""
        with self._lock:
            appointment = self._appointments.get(waker)
            if appointment is not None and not appointment.is_patient:
                self._complain_if_stuck(waker)

    # Under the lock
    # --------------

    def _moved(self) -> None:
        self._moved_at = time.monotonic()
        self._suspected_at.clear()
        self._lock.notify_all()

    def _complain_if_stuck(self, who: Hashable) -> None:
        """Raise RuntimeError if ``who`` finds for the second time that nothing has happened for ``stuck_after``.

        Between its two looks those can act whom a blocked event loop or a debugger has held up, as it has held up
        ``who``.
        """
        now = time.monotonic()
        seconds = now - self._moved_at
        if seconds < self.stuck_after:
            return
        if now - self._suspected_at.setdefault(who, now) >= self.stuck_after * _SECOND_LOOK:
            waiting = sorted(((one.when, one.who) for one in self._appointments.values()), key=lambda one: one[0])
            raise RuntimeError(
                str(Standstill(self._now, seconds, self._autojump, waiting, self._active(), self._loose()))
            )

    def _waiting(self) -> int:
        return sum(not appointment.is_patient for appointment in self._appointments.values())

    def _active(self) -> list[object]:
        """The tasks and threads at work. A caller who carries its request itself counts as running, and may wait."""
        waiting = {appointment.who for appointment in self._appointments.values()}
        return [who for who in self._running.values() if who not in waiting]

    def _loose(self) -> int:
        """How many requests are under way whose carriers wait for nothing here."""
        return len(self._flying) - sum(appointment.carries for appointment in self._appointments.values())

    def _is_at_rest(self) -> bool:
        """Whether no caller and no request does anything before time has passed."""
        return not self._active() and self._loose() <= 0

    def _is_settled(self, loose: int, flying: frozenset[Hashable]) -> bool:
        """Whether everybody but the caller of this is at rest, tasks of paused event loops apart.

        ``loose`` of the requests ``flying`` were carried by code that does not wait here when time passed, and may go
        on with that. None may that has been started since: it was woken by the passing of time, and is to be waited
        for. So one of ``flying`` that lands makes no room for it.
        """
        active = [who for who in self._active() if who != this_one()]
        paused = sum(is_paused(who) for who in active)
        return len(active) == paused and self._loose() - paused <= min(loose, len(self._flying & flying))

    def _is_pressed(self) -> bool:
        return any(not one.is_patient and one.when < math.inf for one in self._appointments.values())

    def _take_due(self) -> list[Waker]:
        due = [waker for waker, appointment in self._appointments.items() if appointment.when <= self._now]
        due.sort(key=lambda waker: self._appointments[waker].when)
        for waker in due:
            self._running[waker] = self._appointments.pop(waker).who
        return due

    # Not under the lock
    # ------------------

    def _jump(self, seconds: float) -> tuple[int, frozenset[Hashable]]:
        """Let ``seconds`` pass, and wake whoever is due.

        Returns how many requests were loose before, and which were under way, as :meth:`_is_settled` wants to know.
        """
        check_seconds("seconds", seconds)
        with self._lock:
            before = max(0, self._loose()), frozenset(self._flying)
            self._now += seconds
            self._moved()
            due = self._take_due()
        self._wake(due)
        return before

    def _settle(self, loose: int = 0, flying: frozenset[Hashable] = frozenset()) -> None:
        with self._lock:
            while not self._is_settled(loose, flying):
                self._lock.wait(self.pause())
                self._complain_if_stuck(this_one())

    async def _asettle(self, loose: int = 0, flying: frozenset[Hashable] = frozenset()) -> None:
        while True:
            with self._lock:
                if self._is_settled(loose, flying):
                    return
                self._complain_if_stuck(this_one())
            await turn()

    def _pass_time(self) -> None:
        """As long as everybody waits, go to the earliest moment that anybody waits for, and wake those who are due."""
        while True:
            with self._lock:
                if not self._autojump or not self._is_at_rest() or not self._is_pressed():
                    return
                self._now = max(self._now, min(appointment.when for appointment in self._appointments.values()))
                self._moved()
                due = self._take_due()
            self._wake(due)

    def _wake(self, due: list[Waker]) -> None:
        for waker in due:
            try:
                waker()
            except Exception:  # noqa: BLE001 (its event loop is gone)
                with self._lock:
                    self._running.pop(waker, None)
                    self._moved()
