"""Whoever gives up, and wherever: the others are served, nobody pays for it, and nothing is left held."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio

import evertoken
import evertoken_transports
from evertoken import HttpResponse, TokenRequest, TokenUnavailable
from evertoken.testing import ServerRequest
from evertoken_transports._carrier import carry
from evertoken_transports._exchange import AsyncExchange
from evertoken_transports._exchanges.on_asyncio import AsyncioExchange
from evertoken_transports._exchanges.on_trio import TrioExchange
from evertoken_transports._exchanges.streams import Attempt, Line
from evertoken_transports._exchanges.target import Target
from evertoken_transports.threads import TokenSource
from evertoken_transports.trio import TokenSource as TrioSource
from tests.kits.loops import (
    LOOPS,
    AsyncEndpoint,
    Loop,
    Source,
    all_of,
    assert_nothing_held,
    run_in,
    sleep,
    source_in,
    struck,
    turn_until,
    within,
)
from tests.kits.worlds import World, run_in_threads, until

EXCHANGE_CHECKPOINTS = 5
"""Connecting, the handshake, sending, two pieces of the answer. Closing waits for nothing."""
CALLER_CHECKPOINTS = 1
"""Waiting for the answer."""
CARRYING_CALLER_CHECKPOINTS = EXCHANGE_CHECKPOINTS

PAUSE = 0.1
"""Seconds that each of them takes."""

WAITERS = 50


def checkpoints(count: int) -> pytest.MarkDecorator:
    """The test once for each loop and each point at which the victim is suspended in it."""
    return pytest.mark.parametrize(("loop", "at"), [(loop, at) for loop in LOOPS for at in range(count)])


# The exchanges as they are, on a line in memory
# ----------------------------------------------


class MemoryLine(Line):
    """A connection to the world's model. Everything on it takes a while."""

    def __init__(self, loop: Loop, world: World) -> None:
        self._loop: Loop = loop
        self._world = world
        self._arriving: list[bytes] = []

    async def _pause(self) -> None:
        await sleep(self._loop, PAUSE)

    async def send(self, data: bytes) -> None:
        head, _, body = data.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        answer = self._world.server.handle(
            self._world.clock(), ServerRequest(method, path, headers, body.encode())
        ).response
        assert answer is not None
        fields = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        self._arriving = [f"HTTP/1.1 {answer.status} \r\n{fields}\r\n".encode(), answer.body]
        await self._pause()

    async def receive(self, most: int) -> bytes:
        await self._pause()
        return self._arriving.pop(0)

    async def start(self, context: ssl.SSLContext | None, name: str) -> str | None:
        await self._pause()
        return None

    def close(self) -> None:
        """There is nothing to close."""


def exchange_in(loop: Loop, world: World) -> AsyncExchange:
    """The loop's own exchange, but for the sockets."""

    class Asyncio(AsyncioExchange):
        async def _open(self, target: Target, attempt: Attempt, seconds: float) -> Line:
            await sleep(loop, PAUSE)
            return MemoryLine(loop, world)

    class Trio(TrioExchange):
        async def _open(self, target: Target, attempt: Attempt, seconds: float) -> Line:
            await sleep(loop, PAUSE)
            return MemoryLine(loop, world)

    kind = Trio if loop == "trio" else Asyncio
    return kind(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False, clock=world.clock)


class Victim:
    """A piece of work that is cancelled when it is suspended for the ``at``-th time. Never, if ``at`` is negative."""

    def __init__(self, loop: Loop, at: int) -> None:
        self.loop: Loop = loop
        self.at = at
        self.suspended = 0
        self.others_wait = False
        self.cancelled = False
        self._cancel: Callable[[], object] | None = None

    async def run(self, work: Coroutine[Any, Any, str]) -> str | None:
        """What ``work`` returns; None if it was cancelled. The work is that of the current task."""
        if self.loop == "trio":
            with trio.CancelScope() as scope:
                self._cancel = scope.cancel
                return await struck(work, self._strike)
            return None
        task = asyncio.ensure_future(struck(work, self._strike))
        self._cancel = task.cancel
        try:
            return await task
        except asyncio.CancelledError:
            return None

    def exchange(self, exchange: AsyncExchange, cancel: Callable[[], object]) -> AsyncExchange:
        """``exchange``, the first use of which is the victim."""

        async def run(request: TokenRequest, /) -> HttpResponse:
            work: Any = exchange(request)
            if self._cancel is not None:
                again: HttpResponse = await work
                return again
            self._cancel = cancel
            return await struck(work, self._strike)

        return run

    def _strike(self, number: int) -> None:
        self.suspended = number + 1
        # At first, it is struck when the others have come: until then no time passes.
        if number == self.at and self.others_wait:
            self.strike()

    def strike(self) -> None:
        assert self._cancel is not None
        self.cancelled = True
        self._cancel()


async def herd(world: World, victim: Victim, leader: Callable[[], Awaitable[object]], source: Source) -> list[str]:
    """The leader, and as soon as it is suspended 49 others. What the others got."""
    served: list[str] = []

    async def follow() -> None:
        await turn_until(victim.loop, lambda: victim.suspended > 0)
        served.append(await source.authorization(timeout=60))

    async def watch() -> None:
        def all_wait() -> bool:
            return len(world.coordinator._wakers) >= WAITERS - 1 and victim.suspended > 0

        await turn_until(victim.loop, all_wait)
        for _ in range(3 * WAITERS):
            await sleep(victim.loop, 0)
        victim.others_wait = True
        if victim.at == 0:
            victim.strike()

    await all_of(victim.loop, leader, watch, *[follow] * (WAITERS - 1))
    return served


def exchanges(world: World) -> int:
    """How many have been begun, whether the endpoint saw a request of them or not."""
    return world.policy.budget_burst - world.coordinator.explain().budget_left


def assert_no_time_lost(world: World, at: int) -> None:
    """The others had their token as soon as one exchange could be made after the first was given up."""
    soonest = 1_000 + (at + EXCHANGE_CHECKPOINTS) * PAUSE
    assert world.clock() <= soonest + 2 * PAUSE


# A caller gives up
# -----------------


@checkpoints(CALLER_CHECKPOINTS)
def test_a_caller_that_is_cancelled_anywhere_leaves_49_served_by_one_request(loop: Loop, at: int) -> None:
    world, victim = World(), Victim(loop, at)

    async def everyone() -> list[str]:
        source = source_in(loop, world, exchange=exchange_in(loop, world))
        return await herd(world, victim, lambda: victim.run(source.authorization()), source)

    served = run_in(loop, world, everyone)
    assert victim.cancelled
    assert len(served) == WAITERS - 1
    assert len(set(served)) == 1
    assert exchanges(world) == 1
    assert_no_time_lost(world, at)
    assert_nothing_held(world)


@checkpoints(CARRYING_CALLER_CHECKPOINTS)
def test_a_caller_that_carries_the_request_and_is_cancelled_anywhere_leaves_49_served_by_two_at_most(
    loop: Loop, at: int
) -> None:
    world, victim = World(), Victim(loop, at)

    async def everyone() -> list[str]:
        source = source_in(loop, world, exchange=exchange_in(loop, world), background=False)
        return await herd(world, victim, lambda: victim.run(source.authorization()), source)

    served = run_in(loop, world, everyone)
    assert victim.cancelled
    assert len(served) == WAITERS - 1
    assert exchanges(world) <= 2
    assert_no_time_lost(world, at)
    assert_nothing_held(world)


def test_a_coroutine_that_is_closed_instead_of_cancelled_holds_nothing_either() -> None:
    world = World()

    async def main() -> str:
        source = source_in("asyncio", world)
        waiting = source.authorization()
        waiting.send(None)
        waiting.close()
        assert world.coordinator._wakers == {}
        return await source.authorization()

    assert run_in("asyncio", world, main)
    assert exchanges(world) == 1
    assert_nothing_held(world)


# Whoever carries the request gives up
# ------------------------------------


@pytest.mark.parametrize("at", range(EXCHANGE_CHECKPOINTS))
def test_the_task_of_asyncio_that_carries_the_request_is_cancelled_anywhere_and_50_are_served(at: int) -> None:
    world, victim = World(), Victim("asyncio", at)

    def cancel() -> None:
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "evertoken-request"]
        task.cancel()

    async def everyone() -> list[str]:
        exchange = victim.exchange(exchange_in("asyncio", world), cancel)
        source = source_in("asyncio", world, exchange=exchange)
        got: list[str] = []

        async def lead() -> None:
            got.append(await source.authorization(timeout=60))

        return [*await herd(world, victim, lead, source), *got]

    served = run_in("asyncio", world, everyone)
    assert victim.cancelled
    assert len(served) == WAITERS
    assert exchanges(world) <= 2
    assert_no_time_lost(world, at)
    assert_nothing_held(world)


def test_the_task_of_asyncio_that_carries_the_request_is_cancelled_before_its_first_step_and_50_are_served() -> None:
    world = World()

    async def everyone() -> list[str]:
        source = source_in("asyncio", world)
        assert source.authorization_nowait() is None
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return await all_of("asyncio", *[source.authorization] * WAITERS)

    assert len(run_in("asyncio", world, everyone)) == WAITERS
    assert world.clock() == 1_000
    assert len(world.token_requests()) == 1
    assert_nothing_held(world)


@pytest.mark.parametrize("at", range(EXCHANGE_CHECKPOINTS))
def test_a_nursery_of_trio_that_carries_the_request_is_cancelled_anywhere_and_49_are_served(at: int) -> None:
    world, victim = World(), Victim("trio", at)

    async def everyone() -> list[str]:
        followers = source_in("trio", world, exchange=exchange_in("trio", world))

        async def lead() -> None:
            closing = trio.Event()
            exchange = victim.exchange(exchange_in("trio", world), closing.set)
            leader = TrioSource(world.grant, coordinator=world.coordinator, exchange=exchange)
            async with leader:
                leader.authorization_nowait()
                await closing.wait()

        return await herd(world, victim, lead, followers)

    served = run_in("trio", world, everyone)
    assert victim.cancelled
    assert len(served) == WAITERS - 1
    assert exchanges(world) <= 2
    assert_no_time_lost(world, at)
    assert_nothing_held(world)


@checkpoints(EXCHANGE_CHECKPOINTS)
def test_a_loop_that_ends_with_the_request_anywhere_leaves_the_work_to_threads_that_wait(loop: Loop, at: int) -> None:
    world = World()
    threads: list[Callable[[], list[object]]] = []

    async def main() -> None:
        reached = asyncio.Event() if loop == "asyncio" else trio.Event()

        def strike(number: int) -> None:
            if number == at:
                reached.set()

        async def exchange(request: TokenRequest, /) -> HttpResponse:
            work: Any = exchange_in(loop, world)(request)
            answer: HttpResponse = await struck(work, strike)
            return answer

        source = source_in(loop, world, exchange=exchange)
        source.authorization_nowait()
        others = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
        threads.append(run_in_threads(8, lambda _: others.authorization()))
        world.wait_for_waiters(8)
        await reached.wait()

    run_in(loop, world, main)
    served = threads[0]()
    assert len(set(served)) == 1
    assert isinstance(served[0], str)
    assert exchanges(world) <= 2
    world.settle()
    assert_nothing_held(world)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_checkpoints_above_are_all_there_are(loop: Loop) -> None:
    async def count(world: World, *, background: bool) -> tuple[int, int]:
        caller, carrier = Victim(loop, -1), Victim(loop, -1)
        exchange = carrier.exchange(exchange_in(loop, world), list)
        source = source_in(loop, world, exchange=exchange, background=background)
        assert await caller.run(source.authorization())
        return caller.suspended, carrier.suspended

    beside, alone = World(), World()
    counted = run_in(loop, beside, lambda: count(beside, background=True))
    assert counted == (CALLER_CHECKPOINTS, EXCHANGE_CHECKPOINTS)
    counted = run_in(loop, alone, lambda: count(alone, background=False))
    assert counted == (CARRYING_CALLER_CHECKPOINTS, EXCHANGE_CHECKPOINTS)


# Little patience
# ---------------


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_caller_with_1_second_of_patience_gets_the_token_of_an_endpoint_that_takes_2(loop: Loop, how: str) -> None:
    world = World()

    async def once(source: Source) -> str | None:
        if how == "cancelled":
            return await within(loop, 1, source.authorization())
        try:
            return await source.authorization(timeout=1)
        except TokenUnavailable:
            return None

    async def again_and_again() -> int:
        source = source_in(loop, world, exchange=AsyncEndpoint(loop, world, 2))
        tries = 1
        while await once(source) is None:
            tries += 1
        return tries

    assert 2 <= run_in(loop, world, again_and_again) <= 3
    assert len(world.token_requests()) == 1
    assert_nothing_held(world)


def test_a_thread_with_1_second_of_patience_gets_the_token_of_an_endpoint_that_takes_2() -> None:
    world = World()
    world.endpoint.gate.clear()
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    for _ in range(2):
        join = run_in_threads(1, lambda _: source.authorization(timeout=1))
        world.wait_for_waiters(1)
        world.advance(1)
        assert isinstance(join()[0], TokenUnavailable)
    world.endpoint.gate.set()
    world.settle()
    assert source.authorization(timeout=1)
    assert len(world.token_requests()) == 1
    assert_nothing_held(world)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_api_clients_own_timeout_does_not_end_the_token_request(loop: Loop) -> None:
    world = World()

    async def main() -> str:
        source = source_in(loop, world, exchange=AsyncEndpoint(loop, world, 2))
        assert await within(loop, 0.05, source.authorization()) is None
        return await source.authorization()

    assert run_in(loop, world, main)
    assert world.clock() == 1_002
    assert len(world.token_requests()) == 1


# Threads, interrupted
# --------------------

OWN = tuple(str(Path(package.__file__ or "").parent) for package in (evertoken, evertoken_transports))


class Interruption:
    """Raises at the ``at``-th point of our own code at which CPython looks for signals.

    That is where a function of Python begins, and where one of C has returned; sys.setprofile is told of both.
    """

    def __init__(self, kind: type[BaseException], at: int) -> None:
        self._kind, self._at = kind, at
        self._passed = 0
        self.struck = False

    def run(self, work: Callable[[], object]) -> None:
        sys.setprofile(self._look)
        try:
            work()
        except self._kind:
            pass
        finally:
            sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, _: object) -> None:
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(OWN):
            return
        if self._passed == self._at:
            sys.setprofile(None)
            self.struck = True
            raise self._kind
        self._passed += 1


def wait_until_all_are_forgotten(world: World) -> None:
    """Who is struck at the very end leaves its departure to whoever comes next: what carries the request, beside it."""
    until(lambda: not world.coordinator._wakers)


# What is raised is the same to all code but the last that sees it: so every other place has one of them.
@pytest.mark.parametrize(("kind", "first"), [(KeyboardInterrupt, 0), (SystemExit, 1)])
@pytest.mark.parametrize("background", [False, True])
def test_a_thread_that_is_interrupted_anywhere_holds_nothing(
    background: bool, kind: type[BaseException], first: int
) -> None:
    tried = 0
    for at in itertools.count(first, step=2):
        world = World()
        source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint, background=background)
        interruption = Interruption(kind, at)
        interruption.run(source.authorization_nowait if background else source.authorization)
        if not interruption.struck:
            break
        assert not world.coordinator._is_inside()
        world.settle()
        wait_until_all_are_forgotten(world)
        assert_nothing_held(world)
        assert source.authorization()
        assert len(world.token_requests()) <= 2
        tried = at
    assert tried > 100


def test_whoever_waits_is_served_wherever_the_carrier_of_its_request_is_interrupted() -> None:
    tried = 0
    for at in itertools.count(step=2):
        world = World()
        _, request = world.coordinator._claim_or_wait(print)
        assert request is not None
        others = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
        join = run_in_threads(1, lambda _, others=others: others.authorization())  # type: ignore[misc]
        world.wait_for_waiters(2)
        interruption = Interruption(KeyboardInterrupt, at)
        departed = world.coordinator._departure(print)

        def work(
            world: World = world, request: TokenRequest = request, departed: Callable[[], object] = departed
        ) -> None:
            try:
                carry(world.coordinator, world.endpoint, request)
            finally:
                departed()
                world.coordinator._catch_up()

        interruption.run(work)
        assert isinstance(join()[0], str)
        world.settle()
        assert_nothing_held(world)
        if not interruption.struck:
            break
        tried = at
    assert tried > 50
