"""The virtual clock: when it moves, when it says that it cannot, and whom it waits for."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import trio

from evertoken import HttpResponse, TokenRequest, Wait
from evertoken.testing import ApiFault, TokenBehaviour, TokenFault
from evertoken_transports.testing import LoopClock, MangopayServer, VirtualClock, VirtualEventLoop
from evertoken_transports.threads import TokenSource
from tests.kits.worlds import LIMIT, gone

SOON = 0.2
Run = Callable[[Coroutine[Any, Any, None]], None]


def run_on_trio(work: Coroutine[Any, Any, None]) -> None:
    """As ``asyncio.run`` has it."""

    async def main() -> None:
        await work

    trio.run(main)


EVERY_LOOP = pytest.mark.parametrize("run", [asyncio.run, run_on_trio], ids=["asyncio", "trio"])


@pytest.fixture
def server() -> Iterator[MangopayServer]:
    """One that says soon that its time stands still."""
    with MangopayServer(clock=VirtualClock(stuck_after=SOON)) as made:
        yield made


# Standing still
# --------------


def test_an_exchange_that_waits_for_something_else_is_named(server: MangopayServer) -> None:
    gate = threading.Event()

    def wait_at_the_gate(request: TokenRequest) -> HttpResponse:
        gate.wait(LIMIT)
        return server.exchange(request)

    source = TokenSource(server.grant(), exchange=wait_at_the_gate)
    with pytest.raises(RuntimeError, match=r"evertoken-request.* in wait_at_the_gate") as caught:
        source.authorization(timeout=2)
    gate.set()
    told = str(caught.value)
    assert "waits until 1002: thread 'MainThread' at threads.py" in told
    assert "under way: a token request" in told
    assert "stuck_after" in told
    assert server.is_valid(source.authorization()), "nothing is left held"


def test_a_callback_that_blocks_is_named(server: MangopayServer) -> None:
    gate = threading.Event()

    def listen(_event: object) -> None:
        if threading.current_thread().name == "evertoken-request":
            gate.wait(LIMIT)

    source = server.token_source(on_event=listen)
    source.authorization()
    with pytest.raises(RuntimeError, match=r"evertoken-request.* in listen"):
        server.sleep(10)
    gate.set()


def test_a_thread_that_waits_in_the_loop_whose_task_carries_the_request_is_told(server: MangopayServer) -> None:
    async def mix() -> None:
        asking = asyncio.create_task(server.async_token_source().authorization())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="block an event loop"):
            server.token_source().authorization(timeout=SOON)
        await asking

    asyncio.run(mix())


def test_without_autojump_a_caller_whom_nobody_helps_is_told_why(server: MangopayServer) -> None:
    server.clock.autojump = False
    server.next_token_requests(TokenBehaviour(latency_after=1))
    with pytest.raises(RuntimeError, match="autojump is False"):
        server.token_source().authorization(timeout=SOON)


@EVERY_LOOP
def test_a_sleeper_in_a_loop_is_told_of_a_source_in_a_loop_that_is_paused(server: MangopayServer, run: Run) -> None:
    async def warm() -> None:
        await server.async_token_source(keep_warm=True).warm_up()

    async def sleep() -> None:
        with pytest.raises(RuntimeError, match=r"evertoken-keep-warm.* whose event loop is not running"):
            await server.asleep(5_000)

    paused = asyncio.new_event_loop()
    paused.run_until_complete(warm())
    run(sleep())
    server.__exit__(None, None, None)
    paused.run_until_complete(asyncio.sleep(0.01))
    paused.close()


def test_who_waits_looks_again_before_the_limit_is_far_behind(server: MangopayServer) -> None:
    coordinator, now = server.coordinator(), server.clock()

    def waker() -> None:
        """Nobody sleeps here."""

    answer, _ = coordinator._claim_or_wait(waker, since=now, deadline=now + 60.0)
    gone(coordinator, waker)
    assert isinstance(answer, Wait)
    assert answer.until == now + SOON


def test_everyone_who_waits_is_told_at_the_same_time(server: MangopayServer) -> None:
    server.clock.autojump = False
    server.next_token_requests(TokenFault.HANG)
    source = server.token_source()
    with ThreadPoolExecutor(max_workers=8) as pool:
        asked = [pool.submit(source.authorization, timeout=SOON) for _ in range(8)]
        assert {type(future.exception(LIMIT)) for future in asked} == {RuntimeError}


def test_what_keeps_a_token_warm_may_wait_as_long_as_it_likes(server: MangopayServer) -> None:
    source = server.token_source(keep_warm=True)
    source.warm_up()
    threading.Event().wait(2 * SOON)
    server.sleep(1_180)
    server.settle()
    assert server.token_requests == 2


def test_a_limit_that_is_raised_in_the_meantime_is_heeded(server: MangopayServer) -> None:
    server.clock.stuck_after = math.inf
    server.clock.autojump = False
    with ThreadPoolExecutor(max_workers=1) as pool:
        slept = pool.submit(server.sleep, 10)
        with pytest.raises(TimeoutError):
            slept.result(2 * SOON)
        server.clock.autojump = True
        slept.result(LIMIT)


def test_a_call_without_any_timeout_whose_answer_never_comes_is_refused(server: MangopayServer) -> None:
    server.next_api_calls(ApiFault.HANG)
    transport = server.httpx_transport()
    with (
        httpx.Client(base_url=server.base_url, transport=transport, timeout=None) as client,
        pytest.raises(RuntimeError, match="give it a timeout"),
    ):
        client.get("/v2.01/test-client/users")


@EVERY_LOOP
def test_a_task_that_waits_for_ever_is_told_so_or_cancelled(server: MangopayServer, run: Run) -> None:
    async def wait() -> None:
        with pytest.raises(RuntimeError, match="give the call that hangs a timeout"):
            await server.clock.asleep_until(math.inf)

    run(wait())


@EVERY_LOOP
def test_what_would_hold_up_an_event_loop_is_refused_at_once(run: Run) -> None:
    async def misuse() -> None:
        with MangopayServer() as server:
            with pytest.raises(RuntimeError, match="await asleep"):
                server.sleep(5_000)
            with pytest.raises(RuntimeError, match="await asettle"):
                server.settle()
            with pytest.raises(RuntimeError, match="for threads"), server.clock.gathering(3):
                pass

    run(misuse())


@pytest.mark.parametrize("callers", [0, -1])
def test_nobody_cannot_be_gathered(callers: int) -> None:
    with pytest.raises(ValueError, match="callers"), VirtualClock().gathering(callers):
        pass


@pytest.mark.parametrize("seconds", [-1.0, math.nan, "1"])
def test_a_limit_that_is_none_is_refused(seconds: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="number that is not negative"):
        VirtualClock(stuck_after=seconds)


# Going on
# --------


def test_time_passes_as_soon_as_it_may_by_itself() -> None:
    with MangopayServer() as server, ThreadPoolExecutor(max_workers=1) as pool:
        server.clock.autojump = False
        server.next_token_requests(TokenBehaviour(latency_after=3))
        with server.clock.gathering(1):
            asked = pool.submit(server.token_source().authorization)
        server.clock.autojump = True
        assert server.is_valid(asked.result(LIMIT))
        assert server.clock() == 1_003.0


def test_a_suspend_is_over_when_those_whom_it_woke_have_acted() -> None:
    for _ in range(50):
        with MangopayServer() as server:
            source = server.token_source(keep_warm=True)
            source.warm_up()
            server.advance(5_000)
            assert server.token_requests == 2
            assert source.authorization_nowait() is not None


def test_time_waits_for_what_keeps_a_token_warm_from_the_moment_it_is_started(
    server: MangopayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    run = threading.Thread.run

    def run_late(thread: threading.Thread) -> None:
        if thread.name == "evertoken-keep-warm":
            gate.wait(LIMIT)
        run(thread)

    monkeypatch.setattr(threading.Thread, "run", run_late)
    source = server.token_source(keep_warm=True)
    with pytest.raises(RuntimeError, match="Time stands still"):
        server.advance(1)
    gate.set()
    server.clock.stuck_after = LIMIT
    server.settle()
    assert server.token_requests == 1
    source.close()


def test_time_does_not_wait_for_a_warming_thread_that_could_not_be_had(
    server: MangopayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    source = server.token_source(keep_warm=True)
    server.advance(1)
    assert source.authorization()


def test_a_request_that_lands_during_a_suspend_makes_no_room_for_the_next() -> None:
    clock = VirtualClock(stuck_after=SOON)
    clock.took_off("the first")

    def waker() -> None:
        clock.forget(waker)
        clock.landed("the first")
        clock.took_off("the second")

    clock.wake_at(clock() + 5, waker, is_patient=True)
    with pytest.raises(RuntimeError, match="Time stands still"):
        clock.advance(5)


def test_a_suspend_does_not_wait_for_those_who_were_at_work_before_it(server: MangopayServer) -> None:
    gate = threading.Event()
    entered = threading.Event()

    def wait_at_the_gate(request: TokenRequest) -> HttpResponse:
        entered.set()
        gate.wait(LIMIT)
        return server.exchange(request)

    server.clock.stuck_after = LIMIT
    with ThreadPoolExecutor(max_workers=1) as pool:
        source = TokenSource(server.grant(), exchange=wait_at_the_gate)
        asked = pool.submit(source.authorization)
        entered.wait(LIMIT)
        server.advance(5)
        assert not asked.done()
        gate.set()
        assert server.is_valid(asked.result(LIMIT))


def test_a_request_that_was_started_beside_its_caller_has_arrived_once_all_is_settled() -> None:
    for _ in range(50):
        with MangopayServer() as server:
            source = server.token_source()
            source.authorization()
            server.advance(1_180)
            source.authorization()
            server.settle()
            assert server.token_requests == 2


@EVERY_LOOP
def test_the_same_is_true_in_a_loop(run: Run) -> None:
    async def live() -> None:
        with MangopayServer() as server:
            source = server.async_token_source(keep_warm=True)
            await source.warm_up()
            await server.aadvance(5_000)
            assert server.token_requests == 2
            other = server.async_token_source()
            server.advance(1_180)
            other.authorization_nowait()
            await server.asettle()
            assert server.token_requests == 3

    run(live())


def test_the_same_is_true_in_a_loop_of_virtual_time() -> None:
    async def live() -> None:
        with MangopayServer(clock=LoopClock()) as server:
            source = server.async_token_source()
            await source.authorization()
            await server.aadvance(1_180)
            source.authorization_nowait()
            await server.asettle()
            assert server.token_requests == 2

    with asyncio.Runner(loop_factory=VirtualEventLoop) as runner:
        runner.run(live())


def test_a_clock_of_a_loop_cannot_be_read_elsewhere() -> None:
    with pytest.raises(RuntimeError, match="no loop runs in this thread"):
        LoopClock()()


def test_a_clock_shows_what_goes_on() -> None:
    clock = VirtualClock(autojump=False)
    clock.wake_at(1_010.0, lambda: None)
    clock.took_off("a request")
    assert repr(clock) == ("<VirtualClock at 1000: 1 wait, 0 at work, 1 token requests under way, autojump off>")
