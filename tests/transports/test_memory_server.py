"""The fake Mangopay in memory: every fault, in every runtime, in virtual time."""

from __future__ import annotations

import asyncio
import base64
import math
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Literal

import pytest
import trio

from evertoken import Policy, TokenUnavailable
from evertoken.testing import ApiBehaviour, ApiFault, Script, ServerRequest, TokenBehaviour, TokenFault, WorldFault
from evertoken_transports import Coordinator
from evertoken_transports.testing import NETWORK_FAULTS, LoopClock, MangopayServer, VirtualClock, VirtualEventLoop
from evertoken_transports.testing._wire import Wire
from tests.kits.worlds import LIMIT

Runtime = Literal["threads", "asyncio", "trio"]
RUNTIMES: tuple[Runtime, ...] = ("threads", "asyncio", "trio")
EVERY_RUNTIME = pytest.mark.parametrize("runtime", RUNTIMES)
EVERY_LIBRARY = pytest.mark.parametrize("library", ["httpx", "httpx2"])
Trouble = TokenFault | WorldFault


def run(
    runtime: Runtime, work: Callable[[MangopayServer], Coroutine[Any, Any, None]], script: Script | None = None
) -> MangopayServer:
    """Run ``work`` with a server of its own; under threads nothing in it is suspended."""
    with MangopayServer(script) as server:
        if runtime == "trio":
            trio.run(work, server)
        elif runtime == "asyncio":
            asyncio.run(work(server))
        else:
            with pytest.raises(StopIteration):
                work(server).send(None)
    return server


async def token(server: MangopayServer, runtime: Runtime, timeout: float) -> str:
    if runtime == "threads":
        return server.token_source().authorization(timeout)
    return await server.async_token_source().authorization(timeout)


def course(runtime: Runtime, trouble: Trouble) -> list[object]:
    """What callers and server come to when the first token request meets ``trouble``.

    Nobody's patience ends at the moment of an answer: which of the two comes first is open under threads.
    """
    seen: list[object] = []

    async def ask(server: MangopayServer) -> None:
        server.next_token_requests(trouble)
        for pause, timeout in ((0, 1.3), (0, 15.3), (4_000, 100.3)):
            server.advance(pause)
            try:
                header = await token(server, runtime, timeout)
                seen.append(server.is_valid(header))
            except TokenUnavailable as error:
                seen.append((type(error), str(error)))
            seen.append(server.clock())

    server = run(runtime, ask)
    return [*seen, [(arrival.now, arrival.status, arrival.token_number) for arrival in server.arrivals]]


@pytest.mark.parametrize("trouble", [*TokenFault, *NETWORK_FAULTS], ids=str)
def test_a_trouble_has_the_same_course_to_the_moment_and_the_word_in_every_runtime(trouble: Trouble) -> None:
    in_threads = course("threads", trouble)
    assert course("asyncio", trouble) == in_threads
    assert course("trio", trouble) == in_threads
    assert in_threads[4] is True, "an hour is enough for whatever it was"


@EVERY_RUNTIME
def test_time_passes_for_those_who_wait_and_for_nobody_else(runtime: Runtime) -> None:
    async def ask(server: MangopayServer) -> None:
        start = server.clock()
        await token(server, runtime, 15.0)
        assert server.clock() == start
        server.advance(3_600)
        server.next_token_requests(TokenBehaviour(latency_before=2.0, latency_after=1.5))
        await token(server, runtime, 15.0)
        assert server.clock() == start + 3_603.5

    run(runtime, ask)


@EVERY_RUNTIME
def test_a_request_that_nobody_waits_for_makes_no_time_pass(runtime: Runtime) -> None:
    async def ask(server: MangopayServer) -> None:
        server.next_token_requests(TokenFault.HANG)
        with pytest.raises(TokenUnavailable):
            await token(server, runtime, 1.25)
        assert server.clock() == 1_001.25

    run(runtime, ask)


@EVERY_RUNTIME
def test_a_source_that_is_kept_warm_makes_one_request_in_each_life(runtime: Runtime) -> None:
    async def live(server: MangopayServer) -> None:
        if runtime == "threads":
            server.token_source(keep_warm=True).warm_up()
            server.sleep(86_400)
        else:
            source = server.async_token_source(keep_warm=True)
            await source.warm_up()
            await server.asleep(86_400)

    server = run(runtime, live, script=Script(lifetime=3_600))
    assert 24 <= server.token_requests <= 26


@EVERY_RUNTIME
def test_a_partition_is_over_when_it_is_over(runtime: Runtime) -> None:
    async def ask(server: MangopayServer) -> None:
        server.part(60.0)
        with pytest.raises(TokenUnavailable):
            await token(server, runtime, 5.0)
        assert not server.arrivals
        await token(server, runtime, 200.0)
        assert server.arrivals[0].now >= 1_060.0

    run(runtime, ask)


@EVERY_RUNTIME
def test_a_caller_who_carries_the_request_itself_has_the_time_that_it_takes(runtime: Runtime) -> None:
    async def ask(server: MangopayServer) -> None:
        for latency in (2.0, 3.0):
            server.next_token_requests(TokenBehaviour(latency_after=latency))
            before = server.clock()
            if runtime == "threads":
                server.token_source(background=False).authorization()
            else:
                await server.async_token_source(background=False).authorization()
            assert server.clock() == before + latency
            server.advance(1_190 - latency)  # The token lives, and the next one is due.

    run(runtime, ask)


@EVERY_RUNTIME
def test_a_caller_who_carries_the_request_itself_returns_no_token_that_expired_meanwhile(runtime: Runtime) -> None:
    async def ask(server: MangopayServer) -> None:
        policy = Policy(leeway=1.0)
        for latency in (0.0, 9.0):
            server.next_token_requests(TokenBehaviour(latency_after=latency))
            if runtime == "threads":
                header = server.token_source(policy=policy, background=False).authorization()
            else:
                header = await server.async_token_source(policy=policy, background=False).authorization()
            assert server.is_valid(header)
            server.advance(1_200 - 3)

    run(runtime, ask)


def test_tokens_live_and_die_on_the_clock_of_the_server() -> None:
    with MangopayServer(Script(lifetime=60)) as server:
        header = server.token_source().authorization()
        assert server.is_valid(header)
        server.advance(60)
        assert not server.is_valid(header)


def test_a_new_api_key_refuses_the_old_one() -> None:
    with MangopayServer() as server:
        source = server.token_source()
        server.set_api_key("another-key")
        with pytest.raises(TokenUnavailable):
            source.authorization()
        source.replace_credentials(server.grant())
        assert server.is_valid(source.authorization())
        assert Coordinator.shared(server.grant(), Policy()) is source.coordinator


@pytest.mark.parametrize("fault", [fault for fault in WorldFault if fault not in NETWORK_FAULTS], ids=str)
def test_a_fault_that_strikes_no_single_request_is_refused_by_name(fault: WorldFault) -> None:
    with MangopayServer() as server, pytest.raises(ValueError, match="LOST_BEFORE, LOST_AFTER"):
        server.next_token_requests(fault)


def test_neither_the_server_nor_what_it_makes_shows_a_secret() -> None:
    with MangopayServer(api_key="made-up-secret") as server:
        header = server.token_source().authorization()
        shown = f"{server!r} {server.model!r} {server.arrivals!r} {server.coordinator()!r} {server.exchange!r}"
        assert "made-up-secret" not in shown
        assert header.removeprefix("Bearer ") not in shown


def test_a_request_that_is_doubled_by_the_network_arrives_twice() -> None:
    with MangopayServer() as server:
        server.next_token_requests(WorldFault.DUPLICATED)
        assert server.is_valid(server.token_source().authorization())
        assert [arrival.token_number for arrival in server.arrivals] == [1, 2]


# The clients of httpx and httpx2
# -------------------------------


def call(library: str, server: MangopayServer) -> object:
    """The status of one signed call, or the name of what it raised."""
    client = import_module(library)
    auth = import_module(f"evertoken_transports.{library}").BearerAuth(server.grant(), exchange=server.exchange)
    transport = server.httpx_transport() if library == "httpx" else server.httpx2_transport()
    with client.Client(auth=auth, base_url=auth.api_base, transport=transport, timeout=5.0) as calls:
        try:
            return calls.post("/users", json={}).status_code
        except client.HTTPError as error:
            return type(error).__name__


async def acall(library: str, server: MangopayServer) -> object:
    client = import_module(library)
    auth = import_module(f"evertoken_transports.{library}").BearerAuth(server.grant(), exchange=server.exchange)
    transport = server.httpx_transport() if library == "httpx" else server.httpx2_transport()
    async with client.AsyncClient(auth=auth, base_url=auth.api_base, transport=transport, timeout=5.0) as calls:
        try:
            return (await calls.post("/users", json={})).status_code
        except client.HTTPError as error:
            return type(error).__name__


OUTCOMES = {
    ApiFault.SERVER_ERROR: 500,
    ApiFault.DROPPED_BEFORE: "RemoteProtocolError",
    ApiFault.DROPPED_AFTER: "RemoteProtocolError",
    ApiFault.CUT_BODY: "RemoteProtocolError",
    ApiFault.HANG: "ReadTimeout",
    ApiFault.UNAUTHORIZED_BARE: 401,
    ApiFault.SCA: 401,
    ApiFault.FORBIDDEN: 403,
    ApiFault.RATE_LIMITED: 429,
    ApiFault.LOCKED: 400,
}


@EVERY_LIBRARY
@pytest.mark.parametrize("fault", ApiFault, ids=str)
def test_a_call_meets_the_fault_that_was_asked_for(library: str, fault: ApiFault) -> None:
    with MangopayServer() as server:
        server.next_api_calls(fault)
        expected = OUTCOMES.get(fault, 200)
        assert call(library, server) == expected
        server.advance(100)
        server.next_api_calls(fault)
        assert asyncio.run(acall(library, server)) == expected


@EVERY_LIBRARY
def test_an_answer_that_is_later_than_the_client_waits_is_a_timeout_at_that_moment(library: str) -> None:
    with MangopayServer() as server:
        server.next_api_calls(ApiBehaviour(latency=4.0), ApiBehaviour(latency=6.0))
        assert call(library, server) == 200
        assert server.clock() == 1_004.0
        assert call(library, server) == "ReadTimeout"
        assert server.clock() == 1_009.0


# The clocks
# ----------


def test_within_gathering_all_callers_come_at_one_moment() -> None:
    clock = VirtualClock()
    with MangopayServer(clock=clock) as server, ThreadPoolExecutor(max_workers=8) as pool:
        server.next_token_requests(TokenBehaviour(latency_after=9.0))
        source = server.token_source()
        with clock.gathering(8):
            asked = [pool.submit(source.authorization) for _ in range(8)]
        assert len({future.result(LIMIT) for future in asked}) == 1
        assert server.clock() == 1_009.0
        assert server.token_requests == 1


def test_a_clock_without_autojump_moves_only_when_it_is_told_to() -> None:
    clock = VirtualClock(autojump=False)
    with MangopayServer(clock=clock) as server, ThreadPoolExecutor(max_workers=1) as pool:
        server.next_token_requests(TokenBehaviour(latency_after=9.0))
        with clock.gathering(1):
            asked = pool.submit(server.token_source().authorization)
        assert clock() == 1_000.0
        assert not asked.done()
        clock.advance(9.0)
        assert server.is_valid(asked.result(LIMIT))


def test_a_sleeper_whose_event_loop_is_gone_does_not_hold_up_the_others() -> None:
    clock = VirtualClock(autojump=False)

    async def give_up_half_way() -> None:
        sleeping = clock.asleep_until(1_010.0)
        sleeping.send(None)
        abandoned.append(sleeping)

    abandoned: list[Coroutine[Any, Any, None]] = []
    asyncio.run(give_up_half_way())
    clock.autojump = True
    assert clock() == 1_010.0
    clock.sleep(20.0)
    assert clock() == 1_030.0
    abandoned[0].close()


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), True, "1"])
def test_a_duration_that_is_none_is_refused(seconds: Any) -> None:  # noqa: ANN401
    with MangopayServer() as server:
        for wait in (server.advance, server.sleep):
            with pytest.raises(ValueError, match="seconds"):
                wait(seconds)


def test_in_the_time_of_a_loop_a_suspend_is_seen_by_the_clock_and_not_by_timers() -> None:
    clock = LoopClock()

    async def sleep_through() -> None:
        slept = asyncio.create_task(clock.asleep(100.0))
        timer = asyncio.create_task(asyncio.sleep(100.0))
        await asyncio.sleep(10.0)
        clock.advance(1_000.0)
        await asyncio.sleep(1.0)
        assert slept.done()
        assert not timer.done()
        assert clock() == 2_011.0

    with asyncio.Runner(loop_factory=VirtualEventLoop) as runner:
        runner.run(sleep_through())


def test_in_the_time_of_a_loop_what_needs_a_thread_says_so() -> None:
    with MangopayServer(clock=LoopClock()) as server:
        with pytest.raises(RuntimeError, match="async_exchange"):
            _ = server.exchange
        with pytest.raises(RuntimeError, match="asleep"):
            server.sleep(1)


def test_a_virtual_loop_in_which_nothing_can_happen_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evertoken_transports.testing._loops._STUCK_AFTER", 0.01)

    async def wait_for_nothing() -> None:
        await asyncio.get_running_loop().create_future()

    runner = asyncio.Runner(loop_factory=VirtualEventLoop)
    with pytest.raises(RuntimeError, match="never happens"):
        runner.run(wait_for_nothing())
    monkeypatch.undo()
    runner.close()


# The wire
# --------


def test_a_request_may_come_in_any_pieces_and_is_served_once() -> None:
    with MangopayServer() as server:
        served: list[ServerRequest] = []

        def serve(request: ServerRequest) -> Any:  # noqa: ANN401
            served.append(request)
            return server._network.serve(request)

        wire = Wire(serve, server.clock)
        for byte in b"POST /v2.01/oauth/token?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc":
            wire.send(bytes([byte]))
        assert [(request.method, request.path, request.body) for request in served] == [
            ("POST", "/v2.01/oauth/token?x=1", b"abc")
        ]
        answer = b""
        while piece := wire.receive(7):
            assert isinstance(piece, bytes)
            answer += piece
        assert answer.startswith(b"HTTP/1.1 401 ")


def sent_by(server: MangopayServer, trouble: TokenBehaviour, *, pieces: int) -> list[tuple[float, bytes | float]]:
    """What a client gets to see of an answer, and when; with ``inf`` where there is nothing more to come."""
    server.next_token_requests(trouble)
    wire = Wire(server._network.serve, server.clock)
    known = base64.b64encode(b"test-client:test-api-key")
    wire.send(b"POST /v2.01/oauth/token HTTP/1.1\r\nHost: a\r\nAuthorization: Basic " + known + b"\r\n")
    wire.send(b"Content-Length: 29\r\n\r\ngrant_type=client_credentials")
    seen: list[tuple[float, bytes | float]] = []
    while len(seen) < pieces:
        arrived = wire.receive()
        if isinstance(arrived, float) and arrived < math.inf:
            server.clock.advance(arrived - server.clock())
            continue
        seen.append((server.clock() - 1_000.0, arrived))
        if not arrived or arrived == math.inf:
            break
    return seen


def test_an_answer_leaves_when_and_as_far_as_its_fault_says() -> None:
    with MangopayServer() as server:
        cut = sent_by(server, TokenBehaviour(fault=TokenFault.CUT_BODY, cut_after=5, latency_after=2.0), pieces=9)
    assert [moment for moment, _ in cut] == [2.0, 2.0]
    head, end = (piece for _, piece in cut)
    assert isinstance(head, bytes)
    assert head.endswith(b'\r\n\r\n{"acc')
    assert end == b""


def test_an_answer_without_end_goes_on_and_one_that_hangs_never_comes() -> None:
    with MangopayServer() as server:
        endless = sent_by(server, TokenBehaviour(fault=TokenFault.ENDLESS_BODY), pieces=50)
        assert len(endless) == 50
        assert {moment for moment, _ in endless} == {0.0}
        assert sent_by(server, TokenBehaviour(fault=TokenFault.HANG), pieces=9) == [(0.0, math.inf)]
        assert sent_by(server, TokenBehaviour(fault=TokenFault.DROPPED_BEFORE), pieces=9) == [(0.0, b"")]


def test_a_drip_comes_in_pieces_of_a_second() -> None:
    with MangopayServer() as server:
        drip = sent_by(server, TokenBehaviour(fault=TokenFault.DRIP, bytes_per_second=40.0), pieces=99)
    assert [moment for moment, _ in drip[:3]] == [0.0, 1.0, 2.0]
    assert {len(piece) for _, piece in drip[:-2] if isinstance(piece, bytes)} == {40}


def test_what_kept_a_token_warm_and_ends_without_a_word_does_not_hold_up_the_time() -> None:
    with MangopayServer() as server:
        server.token_source().warm_up()
        coordinator = server.coordinator()
        coordinator._claim_or_wait(lambda: None)
        server.advance(3_600)
        coordinator._wake_all()
        server.sleep(1)
        assert server.clock() == 4_601.0


def test_closing_the_server_ends_what_keeps_a_token_warm() -> None:
    with MangopayServer() as server:
        server.token_source(keep_warm=True).warm_up()
        warmers = [thread for thread in threading.enumerate() if thread.name == "evertoken-keep-warm"]
        assert warmers
    for thread in warmers:
        thread.join(LIMIT)
        assert not thread.is_alive()
