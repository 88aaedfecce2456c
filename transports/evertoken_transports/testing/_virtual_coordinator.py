"""Coordinators of a fake server: they end with it, and tell a :class:`VirtualClock` who waits for what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, cast

from typing_extensions import override

from evertoken import HttpResponse, Outcome, Problem, Ready, TokenMachine, TokenRequest, Wait
from evertoken_transports._clock import Clock
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._exchange import Exchange
from evertoken_transports._moves import Move, Subscriber, Waker
from evertoken_transports._source import BaseSource
from evertoken_transports.testing._alarms import this_one
from evertoken_transports.testing._clocks import VirtualClock

__all__ = ("OVER", "ServerCoordinator", "StandIn", "VirtualCoordinator")

OVER = (
    "this MangopayServer belongs to a test that is over: make sources and clients anew for each test, "
    "or clear the cache that kept this one"
)

_Exchange = TypeVar("_Exchange")

StandIn = Callable[[object], object]
"""What carries the requests of a source that was given this exchange."""


class ServerCoordinator(Coordinator):
    """Runs one machine for as long as a fake server is there."""

    def __init__(self, machine: TokenMachine, clock: Clock, stand_in: StandIn) -> None:
        super().__init__(machine, clock=clock)
        self._stand_in = stand_in
        self._is_over = False

    def end(self) -> None:
        """The server is gone: every source is closed, and says why. What keeps a token warm ends by that, too."""
        self._is_over = True
        with self._lock:
            subscribers = list(self._subscribers.values())
        for subscriber in subscribers:
            if isinstance(subscriber, BaseSource):
                subscriber._shut(OVER)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] (no business of users)
        self.wake_all()

    @override
    def stand_in(self, exchange: _Exchange) -> _Exchange:
        return cast("_Exchange", self._stand_in(exchange))

    @override
    def stand_in_thread(self, exchange: Exchange) -> Exchange | None:
        return None

    @override
    def subscribe(self, subscriber: Subscriber) -> None:
        self._check_alive()
        super().subscribe(subscriber)

    @override
    def ask(self, waker: Waker, *, since: float, deadline: float, min_ttl: float = 0.0) -> Move:
        self._check_alive()
        return super().ask(waker, since=since, deadline=deadline, min_ttl=min_ttl)

    @override
    def glance(
        self, waker: Waker, *, may_send: bool = True, may_wake: bool = False
    ) -> tuple[Ready | None, TokenRequest | None]:
        self._check_alive()
        return super().glance(waker, may_send=may_send, may_wake=may_wake)

    def _check_alive(self) -> None:
        if self._is_over:
            raise RuntimeError(OVER)


class VirtualCoordinator(ServerCoordinator):
    """Runs one machine in virtual time, for sources of any runtime.

    The sources themselves are the real ones: they sleep on their own runtime's events. But whoever waits here is woken
    when the clock shows the moment that it waits for, so that the real timers behind those sleeps never matter.
    """

    def __init__(self, machine: TokenMachine, clock: VirtualClock, stand_in: StandIn) -> None:
        super().__init__(machine, clock, stand_in)
        self._time = clock
        self._warmers: set[Waker] = set()

    @override
    def ask(self, waker: Waker, *, since: float, deadline: float, min_ttl: float = 0.0) -> Move:
        self._time.check_progress(waker)
        self._time.stir(waker, this_one())
        move = super().ask(waker, since=since, deadline=deadline, min_ttl=min_ttl)
        if not isinstance(move.answer, Wait):
            return move
        self._wait(waker, move.answer.until, is_patient=False)
        # The sleeps of sources are real, and end early enough for them to notice that time stands still.
        until = min(move.answer.until, self.clock() + self._time.pause())
        return move._replace(answer=replace(move.answer, until=until))

    @override
    def glance(
        self, waker: Waker, *, may_send: bool = True, may_wake: bool = False
    ) -> tuple[Ready | None, TokenRequest | None]:
        found = super().glance(waker, may_send=may_send, may_wake=may_wake)
        if may_wake:
            self._warmers.add(waker)
            self._wait(waker, self.next_deadline(), is_patient=True)
        return found

    @override
    def forget(self, waker: Waker) -> None:
        super().forget(waker)
        self._warmers.discard(waker)
        self._time.forget(waker)

    @override
    def wake_all(self) -> None:
        super().wake_all()
        # A source was closed: what kept it warm may end without a word.
        for waker in self._warmers.copy():
            self._time.forget(waker)

    @override
    def receive_response(self, request: TokenRequest, response: HttpResponse) -> Outcome:
        return self._landed(request, super().receive_response(request, response))

    @override
    def send_failed(self, request: TokenRequest, reason: str | Outcome) -> Outcome:
        return self._landed(request, super().send_failed(request, reason))

    @override
    def request_abandoned(self, request: TokenRequest) -> Outcome:
        return self._landed(request, super().request_abandoned(request))

    def _landed(self, request: TokenRequest, outcome: Outcome) -> Outcome:
        self._time.landed((self, request.id))
        return outcome

    @override
    def _claim(self, now: float, min_ttl: float) -> TokenRequest | Problem:
        claimed = super()._claim(now, min_ttl)
        if isinstance(claimed, TokenRequest):
            self._time.took_off((self, claimed.id))
        return claimed

    @override
    def _take_wakers(self) -> list[Waker]:
        wakers = super()._take_wakers()
        for waker in wakers:
            self._time.stir(waker)
        return wakers

    def _wait(self, waker: Waker, until: float, *, is_patient: bool) -> None:
        with self._lock:  # Whoever was woken meanwhile asks again anyway.
            if waker in self._wakers:
                self._time.wake_at(until, waker, is_patient=is_patient)
