"""Coordinators of a fake server: they end with it, and tell a :class:`VirtualClock` who waits for what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TypeVar, cast

from typing_extensions import override

from evertoken import HttpResponse, Outcome, Problem, Signing, TokenMachine, TokenRequest, Wait
from evertoken_transports._clock import Clock
from evertoken_transports._coordinator import Answer, Coordinator, Subscriber, Waker
from evertoken_transports._exchange import Exchange
from evertoken_transports._source import BaseSource
from evertoken_transports.testing._alarms import this_one
from evertoken_transports.testing._clocks import VirtualClock

OVER = (
    "this MangopayServer belongs to a test that is over: make sources and clients anew for each test, "
    "or clear the cache that kept this one"
)

_Exchange = TypeVar("_Exchange")
_T = TypeVar("_T")

StandIn = Callable[[object], object]
"""Gives what carries the requests of a source that was given this exchange: the same one, or one in its place."""


class ServerCoordinator(Coordinator):
    """Runs one machine for as long as a fake server is entered."""

    def __init__(self, machine: TokenMachine, clock: Clock, wall: Clock, stand_in: StandIn) -> None:
        super().__init__(machine, clock=clock, wall=wall)
        self._stands_in = stand_in
        self._is_over = False
        self._signed = 0

    def end(self) -> None:
        """Close every source, since the server is gone; each says so when it is used. That ends their warmers, too."""
        with self._lock:
            self._is_over = True  # From now on no source is added.
            subscribers = self._live_subscribers()
        for subscriber in subscribers:
            if isinstance(subscriber, BaseSource):
                subscriber._shut(OVER)
        self._wake_all()

    @override
    def _check_tiers(self, stores: int) -> None:
        """Allow any number of stores, since none is asked: what stands in for an exchange does so for its stores."""

    @override
    def _stand_in(self, exchange: _Exchange) -> _Exchange:
        return cast("_Exchange", self._stands_in(exchange))

    @override
    def _signing(self) -> Signing:
        """The server's time, and entropy that is the same in each run of the test."""
        self._signed += 1
        return Signing(self.clock(), self._signed.to_bytes(16))

    @override
    def _stand_in_thread(self, exchange: Exchange) -> Exchange | None:
        return None

    @override
    def _subscribe(self, subscriber: Subscriber) -> None:
        if self._is_over:
            raise RuntimeError(OVER)
        super()._subscribe(subscriber)


class VirtualCoordinator(ServerCoordinator):
    """Runs one machine in virtual time, for sources of any runtime.

    The sources themselves are the real ones: they sleep on their own runtime's events. But whoever waits here is woken
    when the clock shows the moment that it waits for, so that the real timers behind those sleeps never matter.
    """

    def __init__(self, machine: TokenMachine, clock: VirtualClock, wall: Clock, stand_in: StandIn) -> None:
        super().__init__(machine, clock, wall, stand_in)
        self._time = clock
        self._warmers: set[Waker] = set()
        self._landing: dict[int, Hashable] = {}

    @override
    def _expect(self, waker: Waker) -> None:
        self._warmers.add(waker)
        self._time.stir(waker)

    @override
    def _claim_or_wait(
        self, waker: Waker, *, since: float = 0.0, deadline: float | None = None, min_ttl: float = 0.0
    ) -> Answer:
        if deadline is None:  # This is what keeps a token warm, or somebody who only looks and is forgotten at once.
            found = super()._claim_or_wait(waker, since=since, min_ttl=min_ttl)
            self._warmers.add(waker)
            self._wait(waker, self.next_deadline(), is_patient=True)
            return found
        self._time.check_progress(waker)
        self._time.stir(waker, this_one())
        answer, request = super()._claim_or_wait(waker, since=since, deadline=deadline, min_ttl=min_ttl)
        if not isinstance(answer, Wait):
            return answer, request
        self._wait(waker, answer.until, is_patient=False)
        # The sleeps of sources are real, and end early enough for them to notice that time stands still.
        return replace(answer, until=min(answer.until, self.clock() + self._time.pause())), request

    @override
    def _forget(self, waker: Waker) -> None:
        super()._forget(waker)
        self._warmers.discard(waker)
        self._time.forget(waker)

    @override
    def _wake_all(self) -> None:
        super()._wake_all()
        # If a source was closed, what kept its token warm may end without telling the clock.
        for waker in self._warmers.copy():
            self._time.forget(waker)

    @override
    def _answer(self, request: TokenRequest, outcome: Outcome, response: HttpResponse | None = None) -> Outcome:
        self._landing[threading.get_ident()] = (self, request.id)
        return super()._answer(request, outcome, response)

    @override
    def _claim(self, waker: Waker, now: float, min_ttl: float) -> TokenRequest | Problem:
        claimed = super()._claim(waker, now, min_ttl)
        if isinstance(claimed, TokenRequest):
            self._time.took_off((self, claimed.id))
        return claimed

    @override
    def _take_wakers(self) -> None:
        for waker in self._wakers:
            self._time.stir(waker)
        super()._take_wakers()
        if not self._callbacks():  # Else the request lands in _do, after the callbacks, which may take virtual time.
            self._land()

    @override
    def _do(self, act: Callable[[], _T], *, wakes: bool = True) -> _T:
        done = super()._do(act, wakes=wakes)
        self._land()
        return done

    def _land(self) -> None:
        """Tell the clock that this thread's request has landed; those who wait for its answer are stirred before that.

        In the other order nobody would be at work for a moment, and time would pass.
        """
        landed = self._landing.pop(threading.get_ident(), None)
        if landed is not None:
            self._time.landed(landed)

    def _wait(self, waker: Waker, until: float, *, is_patient: bool) -> None:
        with self._lock:  # A caller who was woken meanwhile waits for no moment: it asks again at once.
            if waker in self._wakers:
                self._time.wake_at(until, waker, is_patient=is_patient)
