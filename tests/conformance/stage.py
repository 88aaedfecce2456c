"""What scenarios are written against: callers, a token endpoint, and time, in whichever runtime and library."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from typing_extensions import override

from evertoken import HttpResponse, Outcome, Policy, RequestState, TokenMachine, TokenRequest
from evertoken.testing import AuthorizationServer, TokenTruth
from evertoken_transports import Coordinator
from evertoken_transports._coordinator import Answer, Told, Waker
from evertoken_transports.threads import TokenSource as ThreadSource
from tests.conformance.runtimes import Runtime, Source, outcome_of
from tests.conformance.venue import Venue
from tests.conformance.wires import new_wire
from tests.kits import canary
from tests.kits.worlds import Clock

__all__ = ("LIMIT", "Group", "Scenario", "Stage", "Unsettled", "play")

LIMIT = 20.0
"""Real seconds after which a scenario gives up waiting. None comes near it unless something hangs."""

_T = TypeVar("_T")


class Unsettled(Exception):
    """What a scenario waits for does not come about."""


@dataclass
class Group(Generic[_T]):
    """Callers who were started together, and what each has come to so far."""

    size: int
    results: list[_T] = field(default_factory=list["_T"])
    errors: list[Exception] = field(default_factory=list[Exception])

    @property
    def waiting(self) -> int:
        """How many have come to nothing yet."""
        return self.size - len(self.results) - len(self.errors)

    @property
    def served(self) -> set[_T]:
        """What they got, all of them."""
        assert not self.errors, self.errors[0]
        assert not self.waiting, "some still wait"
        return set(self.results)

    def failed(self, kind: type[Exception]) -> list[Exception]:
        """The errors that they got: all of them, at once, of this very kind, and one for each."""
        assert [type(error) for error in self.errors] == [kind] * self.size
        assert len({id(error) for error in self.errors}) == self.size
        canary.assert_clean(*self.errors)
        return self.errors


class _Counting(Coordinator):
    """Counts the outcomes of requests that were reported, and the callers who wait."""

    outcomes = 0

    def __init__(self, machine: TokenMachine, *, clock: Clock) -> None:
        super().__init__(machine, clock=clock)
        self._lookers = set[Waker]()

    def waiting(self) -> int:
        """How many callers wait. Under the lock. Who leaves looks once more, and is registered for that long."""
        return len(self._wakers.keys() - self._lookers)

    @override
    def _claim_or_wait(
        self, waker: Waker, *, since: float = 0.0, deadline: float | None = None, min_ttl: float = 0.0
    ) -> Answer:
        if deadline is None:
            self._lookers.add(waker)
        return super()._claim_or_wait(waker, since=since, deadline=deadline, min_ttl=min_ttl)

    @override
    def receive_response(self, request: TokenRequest, response: HttpResponse, again: Told | None = None) -> Outcome:
        return self._counted(super().receive_response(request, response, again))

    @override
    def send_failed(self, request: TokenRequest, reason: str | Outcome) -> Outcome:
        return self._counted(super().send_failed(request, reason))

    @override
    def request_abandoned(self, request: TokenRequest) -> Outcome:
        return self._counted(super().request_abandoned(request))

    def _counted(self, outcome: Outcome) -> Outcome:
        with self._lock:
            self.outcomes += 1
        return outcome


class Stage:
    """One source with its coordinator, which nobody else shares, before an emulator, in time that stands still.

    Whatever can happen without the passing of time has happened when a method of the stage returns.
    """

    def __init__(self, runtime: Runtime, library: str) -> None:
        self.clock = Clock()
        self.server = AuthorizationServer(
            "canary", canary.secret(), token_prefix=canary.TOKEN_MARK, start=self.clock.now
        )
        """The truth about tokens. It is safe to use: nothing is under way between two calls of the stage's methods."""
        self.venue = Venue(self.server, self.clock)
        self.venue.start()
        self.grant = self.venue.grant()
        machine = TokenMachine(self.grant, policy=Policy(), draw=lambda: 0.5)
        self.coordinator = _Counting(machine, clock=self.clock)
        self._runtime = runtime
        self._wire = new_wire(library, runtime.name, self.grant, self.coordinator)
        self._busy = 0
        self._sources: list[Source] = []
        self.source = self.another_source()

    def another_source(self) -> Source:
        """A source that shares the coordinator."""
        made = self._runtime.source_class(self.grant, coordinator=self.coordinator, exchange=self._wire.exchange)
        self._sources.append(made)
        return made

    # Callers
    # -------

    async def callers(
        self, count: int, *, timeout: float = 15.0, min_ttl: float = 0.0, source: Source | None = None
    ) -> Group[str]:
        """Start callers who want the Authorization value."""
        asked = self.source if source is None else source

        async def ask(_: int) -> str:
            header = await outcome_of(asked.authorization(timeout, min_ttl))
            self._check_handed_out(header)
            return header

        return await self._started(count, ask)

    async def calls(self, count: int, method: str = "GET") -> Group[int]:
        """Start calls of the API. Each result is the status that reached the caller."""

        async def call(index: int) -> int:
            return await self._wire.call(self.source, method, "/users", b"%d" % index)

        return await self._started(count, call)

    def times_applied(self, count: int, method: str) -> list[int]:
        """How often each of the last ``count`` :meth:`calls` was carried out."""
        path = f"/v2.01/{self.grant.client_id}/users"
        return [self.server.applied(method, path, b"%d" % index) for index in range(count)]

    async def warmed_up(self) -> str:
        """The Authorization value with the first token."""
        (header,) = (await self.callers(1)).served
        return header

    async def close(self) -> None:
        """Close the source."""
        await _closed(self.source)
        await self.settle()

    async def _started(self, count: int, work: Callable[[int], Coroutine[object, object, _T]]) -> Group[_T]:
        group = Group[_T](count)
        with self.coordinator._lock:
            self._busy += count
        for index in range(count):
            self._runtime.start(partial(self._run, group, work(index)))
        await self.settle()
        return group

    async def _run(self, group: Group[_T], work: Coroutine[object, object, _T]) -> None:
        try:
            group.results.append(await work)
        except Exception as error:  # noqa: BLE001 (the scenario looks at it)
            group.errors.append(error)
        finally:
            with self.coordinator._lock:
                self._busy -= 1

    def _check_handed_out(self, header: str) -> None:
        token = header.removeprefix("Bearer ")
        assert self.server.truth(self.clock(), token) in (TokenTruth.VALID, TokenTruth.REVOKED)

    # The endpoint
    # ------------

    @property
    def token_requests(self) -> int:
        """How many have arrived."""
        return len(self.venue.token_requests)

    def seconds_of_requests(self) -> list[float]:
        """When each token request arrived, in seconds since the beginning."""
        return [arrival.now - self.server.start for arrival in self.venue.token_requests]

    def hold(self) -> None:
        """Let token requests arrive, and hold the answers back."""
        self.venue.hold()

    async def release(self) -> None:
        """Give the answers that were held back, and those to come."""
        self.venue.release()
        await self.settle()

    # Time
    # ----

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.venue.let_go()
        await self._runtime.pass_time(seconds)
        if not self._runtime.has_timers_of_its_own:
            self.coordinator._wake_all()
        await self.settle()

    async def suspend(self, seconds: float) -> None:
        """The machine sleeps: time passes, and the timers of the runtime do not notice."""
        self.clock.now += seconds
        self.venue.let_go()
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing more can happen before time passes, or an answer is released."""
        await self.until(self._is_settled)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Give everyone else their turn until ``condition`` holds; raise Unsettled after ``LIMIT`` seconds."""
        give_up = time.monotonic() + LIMIT
        while not condition():
            if time.monotonic() >= give_up:
                raise Unsettled(f"{self._busy} callers are busy\n{self.coordinator.explain()}")
            await self._runtime.pause()

    def _is_settled(self) -> bool:
        """Whether every caller waits for the coordinator, and whatever is under way for the endpoint's answer."""
        coordinator, machine = self.coordinator, self.coordinator.machine
        with coordinator._lock:
            if self._busy != coordinator.waiting():
                return False
            in_flight = machine.request_state(self.clock()) is RequestState.IN_FLIGHT
            started = machine.state_value.next_id - 1
            under_way = started - coordinator.outcomes
        return under_way <= self.venue.answers_kept and (not in_flight or self.venue.keeps_newest(started))

    # The end
    # -------

    async def end(self) -> None:
        """Close everything, and see that nothing is left: no caller, no task, no connection."""
        try:
            await self._release_all()
            await self.until(lambda: not self._runtime.leftovers())
            await self.until(lambda: not self.venue.has_visitors)
            machine = self.coordinator.machine
            assert self.coordinator.outcomes == machine.state_value.next_id - 1, "not one outcome for each request"
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Leave nothing open, whatever has happened."""
        self.venue.close()
        await self._wire.close()

    async def _release_all(self) -> None:
        await self.release()
        for source in self._sources:
            await _closed(source)
        await self.settle()
        assert not self._busy, "closing sent not every waiter home"
        # What hangs is over at its deadline, where deadlines can be moved; blocking sockets wait for the server.
        await self.advance(self.coordinator.machine.policy.request_timeout)
        if self._runtime.has_timers_of_its_own:
            await self.until(lambda: not self._runtime.leftovers())
        self.venue.hang_up()
        await self._wire.close()


async def _closed(source: Source) -> None:
    if isinstance(source, ThreadSource):
        source.close()
    else:
        await source.aclose()


Scenario = Callable[[Stage], Coroutine[object, object, None]]


def play(scenario: Scenario, runtime_class: type[Runtime], library: str) -> None:
    """Perform ``scenario`` on a stage of its own."""
    runtime = runtime_class()

    async def performance() -> None:
        stage = Stage(runtime, library)
        try:
            await scenario(stage)
        except BaseException:
            await stage.abandon()
            raise
        await stage.end()

    runtime.run(performance)
