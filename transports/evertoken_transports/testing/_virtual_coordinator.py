"""A coordinator that tells a :class:`VirtualClock` who waits for what, and a registry that hands such ones out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from typing_extensions import override

from evertoken import ClientCredentials, HttpResponse, Outcome, Policy, Problem, TokenMachine, TokenRequest, Wait
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._moves import Move, Waker
from evertoken_transports.testing._alarms import this_one
from evertoken_transports.testing._clocks import VirtualClock

__all__ = ("NewCoordinator", "VirtualCoordinator", "own_registry")

NewCoordinator = Callable[[ClientCredentials, Policy], Coordinator]


class VirtualCoordinator(Coordinator):
    """Runs one machine in virtual time, for sources of any runtime.

    The sources themselves are the real ones: they sleep on their own runtime's events. But whoever waits here is woken
    when the clock shows the moment that it waits for, so that the real timers behind those sleeps never matter.
    """

    def __init__(self, machine: TokenMachine, clock: VirtualClock) -> None:
        super().__init__(machine, clock=clock)
        self._time = clock
        self._warmers: set[Waker] = set()

    @override
    def ask(self, waker: Waker, *, since: float, deadline: float, min_ttl: float = 0.0) -> Move:
        self._time.stir(waker, this_one())
        move = super().ask(waker, since=since, deadline=deadline, min_ttl=min_ttl)
        if isinstance(move.answer, Wait):
            self._wait(waker, move.answer.until, is_patient=False)
        return move

    @override
    def glance(
        self, waker: Waker, *, may_send: bool = True, may_wake: bool = False
    ) -> tuple[str | None, TokenRequest | None]:
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
    def send_failed(self, request: TokenRequest, reason: str) -> Outcome:
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


@contextmanager
def own_registry(new: NewCoordinator) -> Generator[None]:
    """Within the block ``Coordinator.shared`` knows nobody from before, and ``new`` makes what it hands out.

    After it, those from before are known again, and those of the block are not.
    """
    before = vars(Coordinator)["shared"]
    setattr(Coordinator, "shared", staticmethod(_Registry(new).get))  # noqa: B010 (to type checkers it is no variable)
    try:
        yield
    finally:
        setattr(Coordinator, "shared", before)  # noqa: B010


class _Registry:
    def __init__(self, new: NewCoordinator) -> None:
        self._new = new
        self._made: list[tuple[ClientCredentials, Coordinator]] = []
        self._lock = threading.Lock()

    def get(self, grant: ClientCredentials, policy: Policy) -> Coordinator:
        """Found by the grant that it was made for, and after a rotation by the one that it has now."""
        with self._lock:
            for first, coordinator in self._made:
                machine = coordinator.machine
                if policy == machine.policy and grant in (first, machine.grant):
                    return coordinator
            made = self._new(grant, policy)
            self._made.append((grant, made))
            return made
