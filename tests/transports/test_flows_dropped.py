"""BearerAuth: a call that ends anywhere, by whosever hand, leaves nothing held, and the next one works."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest
import trio

from evertoken import RequestState
from evertoken_transports._threads import Caller
from tests.kits.httpx_kits import LIBRARIES, TOKEN_401, Answer, Kit, Theirs, run_in
from tests.kits.loops import LOOPS, Loop, assert_nothing_held, sleep, struck
from tests.kits.worlds import World, run_in_threads

ELSEWHERE = "https://elsewhere.example/"


def world_with_an_old_token() -> World:
    """Its token is about to be rejected, and old enough for that to be believed."""
    world = World()
    _, request = world.coordinator._claim_or_wait(print)
    assert request is not None
    world.coordinator.receive_response(request, world.endpoint(request))
    world.clock.now += 400
    return world


def assert_next_call_works(kit: Kit, auth: Theirs) -> None:
    kit.world.settle()
    assert_nothing_held(kit.world)
    assert kit.client(auth).get("/users").status_code == 200
    assert len(kit.world.token_requests()) <= 2


# Between two requests: the flow waits for its client
# ---------------------------------------------------


@pytest.fixture(params=LIBRARIES)
def blocking(request: pytest.FixtureRequest) -> Iterator[Kit]:
    kit = Kit(request.param, World())
    yield kit
    kit.close()


def advanced(kit: Kit, auth: Theirs, steps: int) -> Generator[Theirs, Theirs, None]:
    """A flow that has yielded ``steps`` requests."""
    request = kit.library.Request("GET", f"{auth.api_base}/users")
    flow: Generator[Theirs, Theirs, None] = auth.sync_auth_flow(request)
    if steps:
        next(flow)
    if steps == 2:
        flow.send(kit.library.Response(401, json={"Type": "invalid_credentials"}, request=request))
    return flow


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, OSError])
def test_what_a_client_throws_into_a_flow_comes_out_of_it_and_nothing_is_held(
    blocking: Kit, kind: type[BaseException], steps: int
) -> None:
    auth = blocking.auth()
    flow = advanced(blocking, auth, steps)
    with pytest.raises(kind):
        flow.throw(kind())
    assert_next_call_works(blocking, auth)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("how", ["closed", "collected"])
def test_a_flow_may_end_in_another_thread_than_it_began(blocking: Kit, how: str, steps: int) -> None:
    auth = blocking.auth()
    flows = [advanced(blocking, auth, steps)]

    def end(_: int) -> None:
        flow = flows.pop()
        if how == "closed":
            flow.close()
        else:
            cycle: list[object] = [flow]
            cycle.append(cycle)
            del cycle, flow
            gc.collect()

    assert run_in_threads(1, end)() == [None]
    assert_next_call_works(blocking, auth)


def test_a_hundred_flows_that_are_left_standing_hinder_nobody(blocking: Kit) -> None:
    auth = blocking.auth()
    standing = [advanced(blocking, auth, steps) for steps in [0, 1] * 100]
    # One only: the next token would have to be older before another rejection is believed.
    standing.append(advanced(blocking, auth, 2))
    assert_next_call_works(blocking, auth)
    del standing


def test_a_flow_that_goes_to_another_origin_holds_nothing_either(blocking: Kit) -> None:
    auth = blocking.auth()
    flow = auth.sync_auth_flow(blocking.library.Request("GET", ELSEWHERE))
    next(flow)
    flow.close()
    assert blocking.world.token_requests() == []
    assert_next_call_works(blocking, auth)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_thread_that_is_interrupted_while_its_call_waits_for_a_token_holds_nothing(
    blocking: Kit, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = blocking.auth()
    blocking.world.endpoint.gate.clear()

    def interrupted(*_: object) -> None:
        assert len(blocking.world.coordinator._wakers) == 1
        raise kind

    client = blocking.client(auth)
    with monkeypatch.context() as patched:
        patched.setattr(Caller, "sleep", interrupted)
        with pytest.raises(kind):
            client.get("/users")
    assert blocking.world.coordinator._wakers == {}
    blocking.world.endpoint.gate.set()
    assert_next_call_works(blocking, auth)
    assert len(blocking.world.token_requests()) == 1


# The same in an event loop
# -------------------------


@pytest.fixture(params=[(library, loop) for library in LIBRARIES for loop in LOOPS], ids="-".join)
def waiting(request: pytest.FixtureRequest) -> Iterator[SlowKit]:
    library, loop = request.param
    kit = SlowKit(library, world_with_an_old_token(), loop)
    yield kit
    kit.close()


class SlowStream:
    """A body that takes its time: for each piece, and to be closed. To be mixed with a library's stream."""

    def __init__(self, loop: Loop, pieces: list[bytes]) -> None:
        self._loop: Loop = loop
        self._pieces = pieces
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await sleep(self._loop, 0)
        if self._pieces:
            return self._pieces.pop(0)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1
        await sleep(self._loop, 0)


class SlowKit(Kit):
    """Its API suspends the caller once for each request, and twice for each body."""

    def __init__(self, name: str, world: World, loop: Loop) -> None:
        super().__init__(name, world, loop)
        self._loop: Loop = loop
        self.answers: list[Answer] = []
        self.streams: list[SlowStream] = []

    def transport(self) -> Theirs:
        async def handle_async_request(_: object, request: Theirs) -> Theirs:
            await sleep(self._loop, 0)
            status, headers, content = self.answers.pop(0) if self.answers else (200, {}, b"served")
            kind = type("Stream", (SlowStream, self.library.AsyncByteStream), {})
            self.streams.append(kind(self._loop, [content]))
            return self.library.Response(status, headers=headers, stream=self.streams[-1])

        return type("Transport", (self.library.AsyncBaseTransport,), {"handle_async_request": handle_async_request})()


async def advanced_there(kit: SlowKit, auth: Theirs, steps: int) -> Theirs:
    """A flow that has yielded ``steps`` requests."""
    request = kit.library.Request("GET", f"{auth.api_base}/users")
    flow = auth.async_auth_flow(request)
    if steps:
        await anext(flow)
    if steps == 2:
        await flow.asend(kit.library.Response(401, json={"Type": "invalid_credentials"}, request=request))
    return flow


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_what_a_client_throws_into_a_flow_comes_out_of_it_in_a_loop_too(
    waiting: SlowKit, kind: type[BaseException], steps: int
) -> None:
    auth = waiting.auth()

    async def throw() -> None:
        flow = await advanced_there(waiting, auth, steps)
        with pytest.raises(kind):
            await flow.athrow(kind())

    run_in(waiting.runtime, throw)
    assert_next_call_works(waiting, auth)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("where", ["another task", "another loop"])
def test_a_flow_may_be_closed_elsewhere_than_it_began(waiting: SlowKit, where: str, steps: int) -> None:
    auth = waiting.auth()

    async def another_task() -> None:
        flow = await advanced_there(waiting, auth, steps)
        if waiting.runtime == "trio":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flow.aclose)
        else:
            await asyncio.create_task(flow.aclose())

    async def another_loop() -> None:
        flow = await advanced_there(waiting, auth, steps)
        done = run_in_threads(1, lambda _: run_in(waiting.runtime, flow.aclose))()
        assert done == [None]

    run_in(waiting.runtime, another_task if where == "another task" else another_loop)
    assert_next_call_works(waiting, auth)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.filterwarnings("ignore:Async generator 'evertoken:ResourceWarning")
def test_a_flow_that_outlives_its_loop_holds_nothing(waiting: SlowKit, steps: int) -> None:
    auth = waiting.auth()
    flows: list[Theirs] = []

    async def leave() -> None:
        flows.append(await advanced_there(waiting, auth, steps))

    run_in(waiting.runtime, leave)
    assert_next_call_works(waiting, auth)
    flows.clear()
    gc.collect()
    assert_nothing_held(waiting.world)


def test_a_flow_that_another_task_is_inside_of_cannot_be_closed_and_goes_on(waiting: SlowKit) -> None:
    waiting.world.endpoint.gate.clear()
    waiting.world.clock.now += 1_200
    auth = waiting.auth()
    yielded: list[Theirs] = []

    async def both() -> None:
        flow = auth.async_auth_flow(waiting.library.Request("GET", f"{auth.api_base}/users"))

        async def step() -> None:
            yielded.append(await anext(flow))
            await flow.aclose()

        async def close() -> None:
            while not waiting.world.coordinator._wakers:
                await sleep(loop_of(waiting), 0)
            with pytest.raises(RuntimeError, match="already running"):
                await flow.aclose()
            waiting.world.endpoint.gate.set()

        if waiting.runtime == "trio":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(step)
                nursery.start_soon(close)
        else:
            await asyncio.gather(step(), close())

    run_in(waiting.runtime, both)
    assert "Authorization" in yielded[0].headers
    assert_next_call_works(waiting, auth)


# Inside the flow, and inside the client: each point at which the call is suspended
# ---------------------------------------------------------------------------------

REJECTED_CALL = {
    "the API": 1,
    "the rejection's body, its end, and letting go of it": 3,
    "another token": 1,
    "the API again": 1,
    "the answer's body, its end, and letting go of it": 3,
}
COLD_CALL = {"a token": 1, "the API": 1, "the answer's body, its end, and letting go of it": 3}


def points_of(call: dict[str, int]) -> list[object]:
    """Each suspension by its number and by what the call waits for in it."""
    waits = [name for name, count in call.items() for _ in range(count)]
    return [pytest.param(number, id=f"{number}-{name.split(',')[0]}") for number, name in enumerate(waits)]


async def cancelled(kit: SlowKit, at: int, work: Coroutine[Any, Any, Theirs]) -> int:
    """Run ``work``, cancel it when it is suspended for the ``at``-th time, and say how often it was suspended."""
    suspended = 0
    cancel: Callable[[], object]

    def strike(number: int) -> None:
        nonlocal suspended
        suspended = number + 1
        if number == at:
            cancel()

    if kit.runtime == "trio":
        with trio.CancelScope() as scope:
            cancel = scope.cancel
            await struck(work, strike)
    else:
        task = asyncio.ensure_future(struck(work, strike))
        cancel = task.cancel
        await asyncio.wait([task])
    # A token request that is under way belongs to the loop, which goes on in a program.
    while kit.world.coordinator.machine.request_state(kit.world.clock()) is RequestState.IN_FLIGHT:
        await sleep(loop_of(kit), 0)
    return suspended


def loop_of(kit: SlowKit) -> Loop:
    return "trio" if kit.runtime == "trio" else "asyncio"


def call_of(kit: SlowKit, auth: Theirs, *, rejected: bool) -> Coroutine[Any, Any, Theirs]:
    if rejected:
        kit.answers = [TOKEN_401]
    call: Coroutine[Any, Any, Theirs] = kit.client(auth).client.get("/users")
    return call


def check_cancelled_call(kit: SlowKit, at: int, *, rejected: bool) -> None:
    auth = kit.auth()
    assert run_in(kit.runtime, lambda: cancelled(kit, at, call_of(kit, auth, rejected=rejected))) > at
    assert [stream.closed for stream in kit.streams] == [1] * len(kit.streams)
    assert_next_call_works(kit, auth)


@pytest.mark.parametrize("at", points_of(REJECTED_CALL))
def test_a_rejected_call_that_is_cancelled_at_any_point_leaves_nothing_held_and_no_connection_open(
    waiting: SlowKit, at: int
) -> None:
    check_cancelled_call(waiting, at, rejected=True)


@pytest.mark.parametrize("at", points_of(COLD_CALL))
def test_a_first_call_that_is_cancelled_at_any_point_leaves_nothing_held_and_no_connection_open(
    waiting: SlowKit, at: int
) -> None:
    waiting.world.clock.now += 1_200
    check_cancelled_call(waiting, at, rejected=False)


def test_the_points_above_are_all_there_are(waiting: SlowKit) -> None:
    auth = waiting.auth()

    def count(*, rejected: bool) -> int:
        return run_in(waiting.runtime, lambda: cancelled(waiting, -1, call_of(waiting, auth, rejected=rejected)))

    assert count(rejected=True) == sum(REJECTED_CALL.values())
    waiting.world.clock.now += 1_200
    assert count(rejected=False) == sum(COLD_CALL.values())
