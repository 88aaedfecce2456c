"""A world around one real source of asyncio or trio: callers, faults, a server in memory, and hours of virtual time.

Every draw comes from one generator, or for the machine from a fork of it, at the moment of the decision. asyncio runs
tasks in the order in which they are due, and trio's order is seeded, so a seed has one course.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from evertoken import (
    BlockKind,
    Challenge,
    ClientCredentials,
    HttpResponse,
    LocalProtocolError,
    Rejection,
    TokenMachine,
    TokenRequest,
    TokenUnavailable,
    read_challenge,
)
from evertoken.testing import (
    AuthorizationServer,
    Calls,
    Overuse,
    Random,
    Scenario,
    Script,
    TokenTruth,
    WorldFault,
    liveness_bound,
)
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._exchange import ExchangeFailed
from evertoken_transports._runtime import Runtime
from evertoken_transports.testing._exchanges import AsyncMemoryExchange
from evertoken_transports.testing._hostile_network import HostileNetwork
from evertoken_transports.testing._loop_clock import LoopClock
from evertoken_transports.testing._source_checks import Checks, shortest_interval
from evertoken_transports.testing._tasks import Tasks, new_tasks
from evertoken_transports.testing._wire import Wire

if TYPE_CHECKING:
    from evertoken_transports.asyncio import TokenSource as AsyncioSource
    from evertoken_transports.trio import TokenSource as TrioSource

_HOUR = 3_600.0
_OVERUSE_SECONDS = 600.0
_HURRY = 3
"""Callers come so many times as often as the scenario says, which is made for days and not for hours."""
_LONG_LIFE = 300
"""Seconds. A token that lives shorter is not kept warm: that would make a run long, and show nothing new."""
_API_TIMEOUT = 10.0
_HAND_OUT = 600.0
"""The most seconds that pass between the change of a key at the server and at the client."""

STRIKES = (
    WorldFault.PARTITION,
    WorldFault.OUTAGE,
    WorldFault.CRASH,
    WorldFault.SUSPEND,
    WorldFault.REVOKED,
    WorldFault.ROTATED,
    WorldFault.LIFTED,
    WorldFault.REPORTED,
)
"""The faults that strike from time to time, so many times an hour as their rate says. Those of the network strike
requests, and where ABANDONED is among a scenario's faults, callers carry their requests themselves."""


class SourceWorld:
    """One run of one scenario with its first client.

    Args:
        scenario: what the run follows from. How often callers are cancelled, and whether a token is kept warm, is drawn
            from its seed.
        runtime: the runtime of the source, "asyncio" or "trio".
        coordinator_class: makes the source's coordinator. A test of the checks passes one that lacks a safeguard.
    """

    def __init__(self, scenario: Scenario, runtime: Runtime, coordinator_class: type[Coordinator]) -> None:
        self._scenario = scenario
        self._plan = scenario.clients[0]
        self._policy = self._plan.policy
        self._coordinator_class = coordinator_class
        self._source_class: Any = import_module(f"evertoken_transports.{runtime}").TokenSource
        self._tasks: Tasks = new_tasks(runtime)
        self._random = Random(scenario.seed)
        self._random.draw()  # So that the draws are not those that made the scenario.
        self._draw = self._random.fork().draw
        self._cancel_rate = self._random.pick((0.0, 0.05, 0.3))
        self._background = WorldFault.ABANDONED not in scenario.faults
        self._keep_warm = scenario.lifetime >= _LONG_LIFE and self._random.chance(0.25)
        self._clock = LoopClock()
        shortest = 1.0 if scenario.token_faults else float(scenario.lifetime)
        interval = shortest_interval(self._policy, shortest)
        self.checks = Checks(self._clock, self._policy, interval)
        script = Script(lifetime=scenario.lifetime, overuse=self._overuse(interval))
        self.server = AuthorizationServer("client", "key-0", script=script, seed=scenario.seed, start=1_000.0)
        self._network = HostileNetwork(self.server, self._clock, scenario, self._random, self.checks)
        self._send = AsyncMemoryExchange(lambda: Wire(self._network.serve, self._clock), self._clock)
        self._keys = 0
        self._grant = self.server.grant("https://mangopay.test")
        self._suspended = 0.0
        self._busy = 0
        self._source: AsyncioSource | TrioSource = self._new_source()

    def run(self) -> None:
        """Run to the end, or to the first law that is broken."""
        self._tasks.run(self._main, seed=self._scenario.seed)

    async def _main(self) -> None:
        end = self._clock() + self._scenario.seconds
        trouble = [
            self._tasks.start(partial(self._strikes, fault, rate))
            for fault, rate in self._scenario.rates
            if fault in STRIKES
        ]
        trouble.append(self._tasks.start(self._callers))
        await self._until(end)
        for stop in trouble:
            stop()
        if self.server.lock_count:
            self.checks.fail("the overuse rule never fires")
        self._network.recover()
        self._source.replace_credentials(self._grant_now())
        await self._recovery()
        await self._farewell()

    async def _until(self, end: float) -> None:
        """Let time pass, and stop early once a law is broken."""
        while (left := end - self._clock()) > 0.0 and self.checks.broken is None:
            await self._clock.asleep(min(left, 60.0))

    # The client
    # ----------

    def _new_source(self) -> AsyncioSource | TrioSource:
        machine = TokenMachine(self._grant, policy=self._policy, draw=self._draw)
        made: AsyncioSource | TrioSource = self._source_class(
            self._grant,
            exchange=self._exchange,
            coordinator=self._coordinator_class(machine, clock=self._clock),
            background=self._background,
            keep_warm=self._keep_warm,
            on_event=self.checks.note,
        )
        return made

    async def _exchange(self, request: TokenRequest, /) -> HttpResponse:
        self.checks._departure(request)
        try:
            return await self._send(request)
        finally:
            self.checks.end(request)

    async def _callers(self) -> None:
        number = 0
        while self.checks.broken is None:
            for _ in range(20 if self._plan.calls is Calls.BURSTY else 1):
                self._come()
            await self._clock.asleep(self._until_next(number))
            number += 1

    def _come(self) -> None:
        cancel = self._tasks.start(self._caller)
        if self._random.chance(self._cancel_rate):
            seconds = self._random.draw() * min(self._plan.patience, 2 * self._policy.request_timeout)
            self._tasks.start(partial(self._after, seconds, cancel))

    async def _after(self, seconds: float, act: Callable[[], object]) -> None:
        await self._clock.asleep(seconds)
        act()

    def _until_next(self, number: int) -> float:
        period = self._plan.period / _HURRY
        match self._plan.calls:
            case Calls.STEADY:
                return period * self._random.between(0.5, 1.5)
            case Calls.BURSTY:
                return period * 20
            case Calls.IDLE:
                return period * self._random.draw() if number % 4 else period * self._random.between(10.0, 60.0)
            case _:
                return 1.0 if number % 100 else 2 * _HOUR

    async def _caller(self) -> None:
        self._busy += 1
        outcome = "cancelled"
        try:
            outcome = await self._called()
        finally:
            self._busy -= 1
            self.checks.saw(f"caller: {outcome}")
            self.checks.state(self._source.coordinator.machine)

    async def _called(self) -> str:
        """Make one call of the API, signed by hand as the documentation shows. Returns what became of it, in words."""
        source = self._source
        try:
            header = await self._token(source)
            answer = await self._call(header)
            profile = source.coordinator.machine.grant.endpoint.profile
            challenge = read_challenge(answer.status, answer.headers, answer.body, profile)
            if challenge in (Challenge.TOKEN, Challenge.UNKNOWN):
                verdict = source.token_rejected(header, challenge)
                self.checks.saw(f"rejection: {verdict.value}")
                if verdict is not Rejection.KEPT:
                    answer = await self._call(await self._token(source))
        except TokenUnavailable as error:
            return type(error).__name__
        except ExchangeFailed:
            return "no answer from the API"
        except LocalProtocolError:
            if not source.closed:
                raise
            return "sent home"
        return f"answered {answer.status}"

    async def _token(self, source: AsyncioSource | TrioSource) -> str:
        """Ask for a token, and hold the wait, without the time in which the machine slept, to the caller's patience."""
        if not self._plan.min_ttl and self._random.chance(0.3) and (header := source.authorization_nowait()):
            self.checks.saw("a token without waiting")
            return header
        came = self._clock() - self._suspended
        try:
            return await source.authorization(self._plan.patience, self._plan.min_ttl)
        finally:
            # A caller who carries the request itself may be held until the request's deadline.
            held = 0.0 if self._background else self._policy.request_timeout
            self.checks.wait(self._clock() - self._suspended - came, self._plan.patience + held)

    async def _call(self, header: str) -> HttpResponse:
        headers = (("Authorization", header), ("Content-Length", "0"))
        url, deadline = f"{self._grant.api_base}/users", self._clock() + _API_TIMEOUT
        return await self._send(TokenRequest(0, "GET", url, headers, b"", deadline))

    # What goes wrong by itself
    # -------------------------

    async def _strikes(self, fault: WorldFault, rate: float) -> None:
        while True:
            await self._clock.asleep(self._random.between(0.0, 2.0) * _HOUR / rate)
            if not self._network.faulty:  # The faults are over; this task was woken before it could be cancelled.
                return
            self.checks.saw(f"world: {fault.value}")
            await self._strike(fault)

    async def _strike(self, fault: WorldFault) -> None:
        match fault:
            case WorldFault.PARTITION:
                self._network.part(self._random.between(1.0, 900.0))
            case WorldFault.OUTAGE:
                self._network.break_down()
            case WorldFault.CRASH:
                await self._source.aclose()
                self.checks.restart()
                self._source = self._new_source()
            case WorldFault.SUSPEND:
                self._suspend(self._random.between(1.0, 5_000.0))
            case WorldFault.REVOKED:
                self.server.revoke_all(self._clock())
            case WorldFault.ROTATED:
                self._rotate()
            case WorldFault.LIFTED:
                self._source.lift_block()
            case _:
                self._report()

    def _suspend(self, seconds: float) -> None:
        self._suspended += seconds
        self._clock.advance(seconds)
        self.checks.suspend()

    def _rotate(self) -> None:
        self._keys += 1
        self.server.set_api_key(f"key-{self._keys}")
        hand_out: Callable[[], Awaitable[None]] = partial(
            self._after,
            self._random.between(0.0, _HAND_OUT),
            lambda: self._source.replace_credentials(self._grant_now()),
        )
        self._tasks.start(hand_out)

    def _grant_now(self) -> ClientCredentials:
        self._grant = self.server.grant("https://mangopay.test")
        return self._grant

    def _report(self) -> None:
        kind = self._random.pick((BlockKind.LOCKED, BlockKind.REFUSED, BlockKind.RATE_LIMITED))
        self._source.coordinator.endpoint_blocked(kind, self._random.pick((None, 0.0, 1.0, 100.0)))

    def _overuse(self, interval: float) -> Overuse | None:
        """The server's rule against overuse, as strict as the client's budget allows.

        There is none in a run with crashes, since every new process has a full budget.
        """
        faults = self._scenario.faults
        if WorldFault.CRASH in faults:
            return None
        most = 1 + self._policy.budget_burst + int((_OVERUSE_SECONDS + 1) / interval) + 1
        return Overuse(requests=most * (2 if WorldFault.DUPLICATED in faults else 1), seconds=_OVERUSE_SECONDS)

    # When the faults are over
    # ------------------------

    async def _recovery(self) -> None:
        """Keep asking: there must be a token in time, and once all from before have expired, one that is good."""
        bound = liveness_bound(self._policy)
        await self._ask_on(bound)
        await self._until(self._clock() + self._scenario.lifetime)
        header = await self._ask_on(bound)
        if self.checks.broken is None and header is not None:
            truth = self.server.truth(self._clock(), header.removeprefix("Bearer "))
            if truth is not TokenTruth.VALID:
                self.checks.fail(f"a token that was fetched in fair weather is good, not {truth.value}")

    async def _ask_on(self, bound: float) -> str | None:
        pause = bound / 64
        give_up = self._clock() + bound + pause
        while self._clock() < give_up and self.checks.broken is None:
            try:
                header = await self._source.authorization(pause)
            except TokenUnavailable:
                await self._clock.asleep(pause)
            else:
                self.checks.saw("a token after the faults")
                return header
        self.checks.fail(f"there is a token within {bound:.3f} s after the faults have ended")
        return None

    async def _farewell(self) -> None:
        """Close, give everything that is under way the time it has, and see that nothing is left."""
        await self._source.aclose()
        longest = 2 * (self._plan.patience + self._policy.request_timeout + _API_TIMEOUT)
        await self._until(self._clock() + longest + _HAND_OUT)
        if self._busy:
            self.checks.fail(f"nobody hangs: {self._busy} callers")
        if self.checks.broken is None and self._tasks.left():
            self.checks.fail(f"no task is left over: {self._tasks.left()}")
