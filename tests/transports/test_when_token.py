"""when_token: whoever must not wait is called once, with a token or with why there is none."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import pytest
import trio

from evertoken import EndpointLocked, LocalProtocolError, ProblemKind, TokenUnavailable
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import Token, _when
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.testing import MangopayServer
from evertoken_transports.threads import TokenSource
from evertoken_transports.trio import TokenSource as TrioSource
from tests.kits import canary
from tests.kits.forking import holds_in_a_child
from tests.kits.loops import LOOPS, AsyncEndpoint, run_in, sleep, source_in, turn_until
from tests.kits.worlds import LIMIT, World, until

Loop = Literal["asyncio", "trio"]
ERROR_500 = TokenBehaviour(fault=TokenFault.SERVER_ERROR, status=500)
LOCKED = TokenBehaviour(fault=TokenFault.LOCKED)


class Called:
    """A callback that notes what it is called with."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.came: list[Token | TokenUnavailable] = []
        self.threads: list[str] = []
        self._then = then

    def __call__(self, came: Token | TokenUnavailable) -> None:
        self.came.append(came)
        self.threads.append(threading.current_thread().name)
        self._then()

    def wait(self) -> Token | TokenUnavailable:
        """What it is called with, and that it is the only one."""
        until(lambda: bool(self.came))
        (came,) = self.came
        return came

    def wait_for_token(self) -> Token:
        came = self.wait()
        assert isinstance(came, Token), came
        return came

    def wait_for_error(self) -> TokenUnavailable:
        came = self.wait()
        assert isinstance(came, TokenUnavailable)
        canary.assert_clean(came)
        return came


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.endpoint.gate.set()
    made.settle()


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Loop:
    chosen: Loop = request.param
    return chosen


def source_of(world: World, **options: Any) -> TokenSource:  # noqa: ANN401
    return TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint, **options)


def nobody_waits(source: TokenSource | AsyncioSource | TrioSource) -> bool:
    return source._waiting()._caller is None and source.coordinator._wakers == {}


# Threads
# -------


def test_where_there_is_a_token_the_callback_is_called_before_it_returns(world: World) -> None:
    source, called = source_of(world), Called()
    token = source.token()
    source.when_token(called)
    assert called.came == [token]
    assert called.threads == [threading.current_thread().name]
    assert nobody_waits(source)


@pytest.mark.parametrize("background", [True, False])
def test_without_a_token_everybody_is_called_after_one_request_and_one_thread_waits_for_all(
    world: World, *, background: bool
) -> None:
    world.endpoint.gate.clear()
    source = source_of(world, background=background)
    calls = [Called() for _ in range(50)]
    for called in calls:
        source.when_token(called)
    assert sum(thread.name == "evertoken-when-token" for thread in threading.enumerate()) == 1
    assert not any(called.came for called in calls)
    world.endpoint.gate.set()
    assert len({called.wait_for_token() for called in calls}) == 1
    assert len(world.token_requests()) == 1
    until(lambda: nobody_waits(source))


def test_a_lock_is_told_at_once(world: World) -> None:
    world.server.replace_script(Script(token=LOCKED))
    called = Called()
    source_of(world).when_token(called)
    assert isinstance(called.wait_for_error(), EndpointLocked)


def test_each_has_a_time_of_its_own(world: World) -> None:
    world.endpoint.gate.clear()
    source, patient, hasty, middling = source_of(world), Called(), Called(), Called()
    source.when_token(patient, timeout=9)
    source.when_token(hasty, timeout=2)
    source.when_token(middling, timeout=4)
    world.wait_for_waiters(1)
    world.advance(3)
    assert hasty.wait_for_error().problem.kind is ProblemKind.CALLER_TIMEOUT
    world.advance(2)
    middling.wait_for_error()
    assert not patient.came
    world.endpoint.gate.set()
    patient.wait_for_token()


def test_a_callback_that_raises_is_logged_and_the_others_are_called(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("broken")

    def leave() -> None:
        raise SystemExit

    world.endpoint.gate.clear()
    source = source_of(world)
    calls = [Called(fail), Called(leave), Called(), Called(fail)]
    for called in calls:
        source.when_token(called)
    world.endpoint.gate.set()
    for called in calls:
        called.wait_for_token()
    until(lambda: nobody_waits(source))
    source.when_token(Called(fail))  # With a token in hand it is no different.
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert texts.count("the callback of when_token raised while it was told of Token") == 3
    assert texts.count("the callback of when_token raised SystemExit") == 1


def test_a_callback_may_ask_again(world: World) -> None:
    world.endpoint.gate.clear()
    source, inner = source_of(world), Called()

    def ask() -> None:
        source.when_token(inner)
        assert source.authorization_nowait()

    outer = Called(ask)
    source.when_token(outer)
    world.endpoint.gate.set()
    assert outer.wait_for_token() == inner.wait_for_token()


def test_a_callback_that_blocks_holds_up_no_caller_who_waits(world: World) -> None:
    world.endpoint.gate.clear()
    source, release = source_of(world), threading.Event()
    called = Called(lambda: release.wait(LIMIT))
    source.when_token(called)
    world.endpoint.gate.set()
    assert source.authorization()
    release.set()
    called.wait_for_token()


def test_closing_tells_those_who_wait_and_a_closed_source_takes_no_more(world: World) -> None:
    world.endpoint.gate.clear()
    source, called, late = source_of(world), Called(), Called()
    source.when_token(called)
    world.wait_for_waiters(1)
    source.close()
    error = called.wait_for_error()
    assert "this TokenSource is closed" in str(error)
    with pytest.raises(LocalProtocolError, match="closed"):
        source.when_token(late)
    assert not late.came


def test_where_no_thread_can_be_had_the_callback_is_told_so_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> bool:
        return False

    monkeypatch.setattr(_when, "start_thread", refuse)
    source, called = source_of(world), Called()
    source.when_token(called)
    assert "no thread could be started" in str(called.wait_for_error())
    assert nobody_waits(source)


def test_a_clock_that_raises_loses_no_callback(world: World) -> None:
    world.endpoint.gate.clear()
    source, called = source_of(world), Called()
    source.when_token(called)
    world.wait_for_waiters(1)

    def fail() -> float:
        raise ZeroDivisionError(canary.secret())

    real, world.coordinator.clock = world.coordinator.clock, fail
    with suppress(ZeroDivisionError):
        world.coordinator._wake_all()
    assert "ended by a bug: ZeroDivisionError in " in str(called.wait_for_error())
    world.coordinator.clock = real


def coroutine_function(came: object) -> Any:  # noqa: ANN401
    async def nothing() -> None:
        assert came

    return nothing()


async def is_async(came: object) -> None:
    assert came


@pytest.mark.parametrize(
    ("callback", "timeout", "text"),
    [
        (None, None, "callback must be a function that takes a Token or a TokenUnavailable, not NoneType"),
        (is_async, None, "callback must be a plain function, not a coroutine function"),
        (print, -1, "timeout must be a number"),
    ],
)
def test_a_wrong_argument_is_named(world: World, callback: Any, timeout: Any, text: str) -> None:  # noqa: ANN401
    with pytest.raises((TypeError, ValueError), match=text):
        source_of(world).when_token(callback, timeout)


def test_a_coroutine_that_a_callback_returns_is_not_run_and_said_to_be_wrong(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(world)
    source.warm_up()
    source.when_token(coroutine_function)
    assert "the callback of when_token must be a plain function: the coroutine" in caplog.text


def test_a_forked_child_calls_nobody_for_its_parent_and_can_wait_itself(world: World) -> None:
    world.endpoint.gate.clear()
    told: list[object] = []
    source, called = source_of(world, on_event=told.append), Called()
    source.when_token(called)
    world.wait_for_waiters(1)
    assert world.endpoint.entered.acquire(timeout=LIMIT)
    until(lambda: bool(told))  # A child cannot log where a thread that is not there was writing into the same stream.

    def is_called_alone() -> bool:
        world.endpoint.gate = threading.Event()
        world.endpoint.gate.set()
        mine = Called()
        source.when_token(mine)
        mine.wait_for_token()
        return not called.came

    assert holds_in_a_child(is_called_alone)
    world.endpoint.gate.set()
    called.wait_for_token()


def test_whoever_waits_to_be_called_makes_virtual_time_pass() -> None:
    with MangopayServer(Script(token=ERROR_500)) as server:
        called = Called()
        source = server.token_source()
        source.when_token(called, timeout=60)
        assert called.wait_for_error().problem.kind is ProblemKind.SERVER
        server.model.replace_script(Script())
        again = Called()
        source.when_token(again, timeout=600)
        token = again.wait_for_token()
        assert server.is_valid(token.authorization)
        assert token.expires_at == pytest.approx(server.model.unix_time(server.clock()) + token.seconds_left)


# Event loops
# -----------


def ignore(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
    """A task that is gone before its end is complained of."""


def test_in_a_loop_a_task_waits_and_the_caller_does_not(loop: Loop, world: World) -> None:
    calls = [Called() for _ in range(20)]

    async def main() -> None:
        source = source_in(loop, world, exchange=AsyncEndpoint(loop, world, 0.2))
        for called in calls:
            source.when_token(called)
        assert not any(called.came for called in calls)
        await sleep(loop, 1)
        token = await source.token()
        assert [called.came for called in calls] == [[token]] * 20
        source.when_token(calls[0])
        assert calls[0].came == [token, token]

    run_in(loop, world, main)
    assert len(world.token_requests()) == 1


def test_in_a_loop_each_has_a_time_of_its_own_and_hears_of_a_close(loop: Loop, world: World) -> None:
    hasty, patient = Called(), Called()

    async def main() -> None:
        source = source_in(loop, world, exchange=AsyncEndpoint(loop, world, 9.0))
        source.when_token(hasty, 2)
        source.when_token(patient, 14)
        await sleep(loop, 3)
        assert hasty.wait_for_error().problem.kind is ProblemKind.CALLER_TIMEOUT
        assert not patient.came
        await source.aclose()
        await turn_until(loop, lambda: bool(patient.came))
        assert "this TokenSource is closed" in str(patient.wait_for_error())
        with pytest.raises(LocalProtocolError, match="closed"):
            source.when_token(print)

    run_in(loop, world, main)


def test_a_loop_that_ends_tells_those_who_wait(loop: Loop, world: World) -> None:
    started, just_made = Called(), Called()

    async def main() -> None:
        source = source_in(loop, world, exchange=AsyncEndpoint(loop, world, 9.0))
        source.when_token(started)
        await sleep(loop, 1)
        source.when_token(just_made)

    run_in(loop, world, main)
    for called in (started, just_made):
        assert "The event loop in which a callback waited for a token has ended" in str(called.wait_for_error())


def test_a_loop_that_is_closed_and_cancels_nothing_tells_those_who_wait(world: World) -> None:
    called = Called()
    loop = asyncio.new_event_loop()

    async def main() -> None:
        source_in("asyncio", world, exchange=AsyncEndpoint("asyncio", world, 9.0)).when_token(called)

    loop.run_until_complete(main())
    loop.set_exception_handler(ignore)
    loop.close()
    assert "has ended" in str(called.wait_for_error())


def test_a_callback_in_a_loop_that_raises_ends_nothing(
    loop: Loop, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("broken")

    calls = [Called(fail), Called(), Called(fail)]

    async def main() -> None:
        source = source_in(loop, world)
        for called in calls:
            source.when_token(called)
        await sleep(loop, 1)
        assert source.authorization_nowait()

    run_in(loop, world, main)
    for called in calls:
        called.wait_for_token()
    assert caplog.text.count("the callback of when_token raised while it was told of Token") == 2


def test_a_callback_that_exits_does_not_end_a_run_of_trio(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def leave() -> None:
        raise SystemExit

    async def main() -> None:
        source_in("trio", world).when_token(Called(leave))
        await trio.sleep(1)

    run_in("trio", world, main)
    assert "the callback of when_token raised SystemExit" in caplog.text


def test_outside_the_loop_a_token_in_hand_is_given_and_an_exchange_for_threads_waits(loop: Loop, world: World) -> None:
    source = source_in(loop, world)
    source._outlive_with(world.endpoint)
    world.endpoint.gate.clear()
    called, again = Called(), Called()
    source.when_token(called)
    assert not called.came
    world.endpoint.gate.set()
    token = called.wait_for_token()
    source.when_token(again)
    assert again.came == [token]
    until(lambda: nobody_waits(source))


def test_outside_the_loop_an_exchange_that_needs_one_is_said_to(loop: Loop, world: World) -> None:
    called = Called()
    source_in(loop, world).when_token(called)
    error = called.wait_for_error()
    assert "outside the event loop" in str(error)
    assert "evertoken_transports.threads with the same coordinator" in str(error)


def test_an_adapter_without_waiting_is_a_few_lines(world: World) -> None:
    """As the plug-in of gRPC for call credentials has it: metadata and an error, one of which is None."""

    class Plugin:
        def __init__(self, source: TokenSource) -> None:
            self._source = source

        def __call__(self, context: object, callback: Callable[[Any, Exception | None], None]) -> None:
            self._source.when_token(partial(self._give, callback))

        @staticmethod
        def _give(callback: Callable[[Any, Exception | None], None], came: Token | TokenUnavailable) -> None:
            if isinstance(came, Token):
                callback((("authorization", came.authorization),), None)
            else:
                callback((), came)

    given: list[tuple[Any, Exception | None]] = []
    plugin = Plugin(source_of(world))
    plugin(None, lambda metadata, error: given.append((metadata, error)))
    until(lambda: bool(given))
    assert given[0][1] is None
