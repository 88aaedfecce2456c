"""BearerAuth under the asynchronous clients: what only they have. The rest is in test_httpx_auth, for all runtimes."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

import pytest
import trio

from evertoken import LocalProtocolError
from evertoken.testing import TokenBehaviour, TokenFault
from evertoken_transports._runtime import runtime
from tests.kits import canary
from tests.kits.httpx_kits import LIBRARIES, TOKEN_401, Kit, Theirs, run_in
from tests.kits.worlds import World, run_in_threads

LOOPS = ("asyncio", "trio")
ENOUGH = 65_536


@pytest.fixture(params=[(library, loop) for library in LIBRARIES for loop in LOOPS], ids="-".join)
def kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    library, loop = request.param
    made = Kit(library, World(), loop)
    yield made
    made.close()


def asked_for_tokens(kit: Kit) -> int:
    return len(kit.world.token_requests())


def rejected(kit: Kit, request: Theirs) -> Theirs:
    return kit.library.Response(401, json={"Type": "invalid_credentials"}, request=request)


async def turn() -> None:
    """Let other tasks run."""
    if runtime() == "trio":
        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


async def run_beside(work: Callable[[], Awaitable[object]], other: Callable[[], Awaitable[object]]) -> None:
    """Run both in the loop that runs, and end when both have."""
    if runtime() == "trio":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            nursery.start_soon(other)
    else:
        await asyncio.gather(work(), other())


async def cancelled_at_once(work: Callable[[], Awaitable[object]], ready: Callable[[], bool]) -> None:
    """Start ``work``, and cancel it as soon as ``ready``."""
    if runtime() == "trio":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            while not ready():
                await turn()
            nursery.cancel_scope.cancel()
        return
    task = asyncio.ensure_future(work())
    while not ready():
        await turn()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Waiting
# -------


def test_a_caller_that_waits_for_a_token_does_not_hold_up_the_loop(kit: Kit) -> None:
    kit.world.endpoint.gate.clear()
    client = kit.client().client
    order: list[str] = []

    async def call() -> None:
        await client.get("/users")
        order.append("served")

    async def other() -> None:
        while not kit.world.endpoint.entered.acquire(blocking=False):
            await turn()
        order.append("other")
        kit.world.endpoint.gate.set()

    run_in(kit.runtime, lambda: run_beside(call, other))
    assert order == ["other", "served"]


def test_a_caller_that_is_cancelled_while_it_waits_disturbs_nobody(kit: Kit) -> None:
    kit.world.endpoint.gate.clear()
    client = kit.client().client
    answers: list[Theirs] = []

    async def call() -> None:
        answers.append(await client.get("/users"))

    async def both() -> None:
        await cancelled_at_once(call, lambda: kit.world.endpoint.entered.acquire(blocking=False))
        kit.world.endpoint.gate.set()
        await call()

    run_in(kit.runtime, both)
    assert [answer.status_code for answer in answers] == [200]
    assert asked_for_tokens(kit) == 1


def test_one_object_serves_threads_and_loops_of_both_kinds_with_one_token_request(kit: Kit) -> None:
    auth = kit.auth()
    for loop in (*LOOPS, *LOOPS):
        other = Kit(kit.library.__name__, kit.world, loop)
        assert other.client(auth).get("/users").status_code == 200
        other.close()
    threads = Kit(kit.library.__name__, kit.world)
    assert threads.client(auth).get("/users").status_code == 200
    threads.close()
    assert asked_for_tokens(kit) == 1


def test_a_source_that_is_closed_refuses_in_a_loop_too(kit: Kit) -> None:
    auth = kit.auth()
    client = kit.client(auth)
    client.get("/users")
    auth.source.close()
    with pytest.raises(LocalProtocolError, match="closed"):
        client.get("/users")


def test_closing_the_source_sends_home_who_waits_in_a_loop(kit: Kit) -> None:
    auth = kit.auth()
    client = kit.client(auth)
    kit.world.endpoint.gate.clear()
    join = run_in_threads(1, lambda _: client.get("/users"))
    kit.world.wait_for_waiters(1)
    auth.source.close()
    kit.world.wait_for_waiters(0)
    kit.world.endpoint.gate.set()
    assert isinstance(join()[0], LocalProtocolError)


def test_each_runtime_gets_one_source_however_many_ask_at_once(kit: Kit) -> None:
    auth = kit.auth()

    async def ask() -> Theirs:
        return auth._flow.async_source()

    assert run_in(kit.runtime, ask) is run_in(kit.runtime, ask)
    assert run_in("asyncio", ask) is not run_in("trio", ask)


def test_new_credentials_are_used_by_a_source_that_is_made_after_them(kit: Kit) -> None:
    auth = kit.auth()
    fresh = canary.grant(api_key=canary.secret(2))
    kit.world.server.set_api_key(canary.secret(2))
    auth.source.replace_credentials(fresh)
    assert kit.client(auth).get("/users").status_code == 200


# A flow that ends anywhere
# -------------------------


@pytest.mark.parametrize("how", ["closed", "dropped", "collected"])
@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.filterwarnings("ignore:Async generator 'evertoken:ResourceWarning")
def test_a_flow_that_ends_anywhere_leaves_nothing_held(kit: Kit, how: str, steps: int) -> None:
    auth = kit.auth()

    async def end() -> None:
        request = kit.library.Request("GET", f"{auth.api_base}/users")
        flow: AsyncGenerator[Theirs, Theirs] = auth.async_auth_flow(request)
        if steps:
            await anext(flow)
        if steps == 2:
            await flow.asend(rejected(kit, request))
        if how == "closed":
            await run_beside(flow.aclose, _nothing)
        elif how == "collected":
            cycle: list[object] = [flow]
            cycle.append(cycle)
            del cycle
        del flow
        gc.collect()

    run_in(kit.runtime, end)
    assert kit.client(auth).get("/users").status_code == 200
    assert not kit.world.coordinator._is_inside()


async def _nothing() -> None:
    pass


# Bodies of answers
# -----------------


def test_under_stream_the_caller_gets_every_byte_of_a_401(kit: Kit) -> None:
    chunks = [bytes([n]) * 30_000 for n in range(6)]
    kit.api.answers = [kit.answer_with(401, stream := kit.stream(iter(chunks)))]
    client = kit.client(kit.auth(replay=False)).client

    async def call() -> bytes:
        async with client.stream("POST", "/users") as answer:
            assert ENOUGH <= stream.read < sum(map(len, chunks))
            assert not stream.closed
            return b"".join([chunk async for chunk in answer.aiter_bytes()])

    assert run_in(kit.runtime, call) == b"".join(chunks)
    assert stream.closed == 1


def test_a_body_that_fails_while_it_is_looked_at_fails_for_the_one_who_reads_it(kit: Kit) -> None:
    def broken() -> Iterator[bytes]:
        yield b"part"
        raise kit.library.ReadError("connection reset")

    kit.api.answers = [kit.answer_with(401, stream := kit.stream(broken()))]
    client = kit.client(kit.auth(replay=False)).client
    seen: list[object] = []

    async def call() -> None:
        nonlocal seen
        async with client.stream("POST", "/users") as answer:
            try:
                async for chunk in answer.aiter_raw():
                    seen += [chunk]
            except kit.library.ReadError as error:
                seen.append(error.request is answer.request)

    run_in(kit.runtime, call)
    assert seen == [b"part", True]
    assert stream.closed == 1


def test_a_rejection_under_stream_is_repeated_too(kit: Kit) -> None:
    kit.api.answers = [kit.answer_with(401, first := kit.stream(iter([TOKEN_401[2]])))]
    client = kit.client().client

    async def call() -> bytes:
        async with client.stream("GET", "/users") as answer:
            content: bytes = await answer.aread()
            return content

    assert run_in(kit.runtime, call) == b"served"
    assert first.closed == 1


def test_a_body_that_was_read_to_its_end_frees_its_connection_before_the_wait_for_a_token(kit: Kit) -> None:
    stream = kit.stream(iter([TOKEN_401[2]]))
    auth = kit.auth()

    async def drive() -> None:
        request = kit.library.Request("GET", f"{auth.api_base}/users")
        flow: AsyncGenerator[Theirs, Theirs] = auth.async_auth_flow(request)
        await anext(flow)
        kit.world.server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
        with pytest.raises(StopAsyncIteration):
            await flow.asend(kit.library.Response(401, stream=stream, request=request))

    run_in(kit.runtime, drive)
    assert stream.closed == 1


def test_a_caller_that_is_cancelled_while_a_body_is_looked_at_closes_it(kit: Kit) -> None:
    reading = threading.Event()
    bases = (kit.library.AsyncByteStream,)

    async def chunks(_: object) -> Theirs:
        reading.set()
        while True:
            await turn()
        yield b""

    closed: list[bool] = []

    async def aclose(_: object) -> None:
        closed.append(True)

    stream = type("Stream", bases, {"__aiter__": chunks, "aclose": aclose})()
    kit.api.answers = [kit.answer_with(401, stream)]
    client = kit.client().client
    run_in(kit.runtime, lambda: cancelled_at_once(lambda: client.get("/users"), reading.is_set))
    assert closed
    assert kit.client().get("/users").status_code == 200


# The token request
# -----------------


def test_without_an_exchange_the_token_request_goes_over_an_asynchronous_client_of_its_own(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def handle_async_request(_: object, request: Theirs) -> Theirs:
        asked.append(f"{request.method} {request.url.path}")
        content = {"access_token": canary.token(), "token_type": "bearer", "expires_in": 3600}
        return kit.library.Response(200, stream=kit.stream(iter([json.dumps(content).encode()])))

    monkeypatch.setattr(kit.library.AsyncHTTPTransport, "handle_async_request", handle_async_request)
    auth = kit.adapter.BearerAuth(kit.world.grant, coordinator=kit.world.new_coordinator())
    assert kit.client(auth).get("/users").status_code == 200
    assert asked == ["POST /v2.01/oauth/token"]
