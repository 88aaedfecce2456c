"""An on_event that raises, blocks or calls the source again costs nobody a token."""

from __future__ import annotations

import asyncio
import threading

import pytest

from evertoken import Challenge, HttpResponse, ProblemKind, Rejection, RequestState, TokenRequest, TokenUnavailable
from evertoken_transports import (
    CallFailed,
    CallWaited,
    CredentialsReplaced,
    EndpointBlocked,
    EndpointUnblocked,
    Event,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    TokenDropped,
    TokenGranted,
    TokenKept,
)
from evertoken_transports._events import EventCallback
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.worlds import LIMIT, World, until

KINDS = [
    RequestStarted,
    RequestEnded,
    TokenGranted,
    RequestFailed,
    EndpointBlocked,
    EndpointUnblocked,
    TokenDropped,
    TokenKept,
    CredentialsReplaced,
    CallWaited,
    CallFailed,
]


@pytest.fixture
def world() -> World:
    return World()


def source_of(world: World, callback: EventCallback, *, background: bool = True) -> TokenSource:
    return TokenSource(
        world.grant,
        coordinator=world.coordinator,
        exchange=world.endpoint,
        background=background,
        on_event=callback,
    )


def live(world: World, source: TokenSource) -> None:
    """Let everything happen that events tell of; at the end there is a token."""
    header = source.authorization()
    source.token_worked(header)
    assert source.token_rejected(header, Challenge.TOKEN) is Rejection.DROPPED
    second = source.authorization()
    assert second != header
    source.token_rejected(header, Challenge.TOKEN)
    source.endpoint_blocked(600)
    assert source.authorization() == second
    source.lift_block()
    source.replace_credentials(world.grant.with_secret(canary.secret()))


@pytest.mark.parametrize("background", [True, False])
def test_one_that_raises_at_every_event_costs_nobody_a_token(world: World, *, background: bool) -> None:
    def callback(event: Event) -> None:
        raise KeyError(event)

    live(world, source_of(world, callback, background=background))
    assert len(world.token_requests()) == 2


@pytest.mark.parametrize("background", [True, False])
def test_one_that_calls_the_source_at_every_event_costs_nobody_a_token(world: World, *, background: bool) -> None:
    seen: list[Event] = []

    def callback(event: Event) -> None:
        seen.append(event)
        source.readiness()
        source.explain()
        source.next_deadline()
        source.authorization_nowait()
        source.when_token(lambda _: None, timeout=0)
        if not isinstance(event, CallFailed | EndpointUnblocked):
            source.lift_block()

    source = source_of(world, callback, background=background)
    live(world, source)
    expected = {RequestStarted, TokenGranted, RequestEnded, TokenDropped, EndpointUnblocked}
    until(lambda: expected <= {type(event) for event in list(seen)})  # Another thread may be about to tell the last.


def test_one_that_waits_for_a_token_at_the_start_of_a_request_gets_it(world: World) -> None:
    headers: list[str] = []

    def callback(event: Event) -> None:
        if isinstance(event, RequestStarted):
            headers.append(source.authorization(timeout=LIMIT))

    source = source_of(world, callback)
    header = source.authorization()
    until(lambda: headers == [header])  # Another thread may be about to note it.
    assert len(world.token_requests()) == 1


def test_one_that_would_wait_for_the_request_that_its_own_thread_is_about_to_send_is_told_so(world: World) -> None:
    told: list[ProblemKind] = []

    def callback(event: Event) -> None:
        if isinstance(event, RequestStarted):
            with pytest.raises(TokenUnavailable, match="wait for itself") as caught:
                source.authorization(timeout=LIMIT)
            told.append(caught.value.problem.kind)

    source = source_of(world, callback, background=False)
    assert source.authorization()
    assert told == [ProblemKind.BUG]
    assert len(world.token_requests()) == 1


@pytest.mark.parametrize("kind", [RequestStarted, TokenGranted, RequestEnded, CallWaited])
def test_one_that_blocks_holds_up_nobody_but_the_thread_that_called_it(world: World, kind: type[Event]) -> None:
    blocked, gate = threading.Event(), threading.Event()

    def callback(event: Event) -> None:
        if isinstance(event, kind) and not blocked.is_set():
            blocked.set()
            assert gate.wait(LIMIT)

    source = source_of(world, callback)
    first = Call(source)
    assert blocked.wait(LIMIT)
    calls = [Call(source) for _ in range(5)]
    for call in calls:
        assert call.header() is not None
    assert len(world.token_requests()) == 1
    gate.set()
    assert first.header() == calls[0].header()


@pytest.mark.parametrize("carrier", ["caller", "keep_warm"])
def test_one_that_blocks_holds_up_the_request_that_its_own_thread_carries(world: World, carrier: str) -> None:
    """Which docs/observability.md says, since it cannot be otherwise: a request is told of before its end."""
    sent_meanwhile: list[int] = []

    def callback(event: Event) -> None:
        if isinstance(event, RequestStarted):
            sent_meanwhile.append(len(world.token_requests()))

    is_warm = carrier == "keep_warm"
    with TokenSource(
        world.grant,
        coordinator=world.coordinator,
        exchange=world.endpoint,
        on_event=callback,
        background=is_warm,
        keep_warm=is_warm,
    ) as source:
        if not is_warm:
            source.authorization()
        until(lambda: len(world.token_requests()) == 1)
    assert sent_meanwhile == [0]


class Call:
    """One call in a thread of its own."""

    def __init__(self, source: TokenSource) -> None:
        self._headers: list[str] = []
        self._thread = threading.Thread(target=lambda: self._headers.append(source.authorization(LIMIT)), daemon=True)
        self._thread.start()

    def header(self) -> str:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        return self._headers[0]


def test_one_that_blocks_at_the_start_of_a_refresh_does_not_keep_it_from_being_sent(world: World) -> None:
    gate = threading.Event()

    def callback(event: Event) -> None:
        if isinstance(event, RequestStarted) and event.attempt == 2:
            assert gate.wait(LIMIT)

    source = source_of(world, callback)
    old = source.authorization()
    world.clock.now += 1_175
    refreshing = Call(source)
    until(lambda: len(world.token_requests()) == 2)
    until(lambda: world.coordinator.machine.request_state(world.clock()) is not RequestState.IN_FLIGHT)
    assert source.authorization() not in ("", old)
    gate.set()
    assert refreshing.header() == old


@pytest.mark.parametrize("background", [True, False])
def test_the_start_of_a_request_is_told_before_its_end_however_fast_that_comes(
    world: World, *, background: bool
) -> None:
    told: list[tuple[int, type[Event]]] = []

    def callback(event: Event) -> None:
        if isinstance(event, RequestStarted | RequestEnded):
            told.append((event.attempt, type(event)))

    source = source_of(world, callback, background=background)
    for _ in range(50):
        source.authorization()
        world.clock.now += 1_195
    until(lambda: len(told) == 100)
    for number in range(1, 51):
        assert [kind for attempt, kind in told if attempt == number] == [RequestStarted, RequestEnded]


def test_a_loop_tells_of_a_request_once_it_is_on_its_way(world: World) -> None:
    seen: list[bool] = []

    async def exchange(request: TokenRequest) -> HttpResponse:
        return world.endpoint(request)

    def callback(event: Event) -> None:
        if isinstance(event, RequestStarted):
            seen.append(world.coordinator._claimant[0] is None)  # Somebody has taken it.

    async def main() -> None:
        source = AsyncioSource(world.grant, coordinator=world.coordinator, exchange=exchange, on_event=callback)
        await source.authorization()

    asyncio.run(main())
    assert seen == [True]


def test_a_closed_source_hears_of_nothing_more_and_the_others_do(world: World) -> None:
    one, other = list[Event](), list[Event]()
    sources = [
        TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint, on_event=heard.append)
        for heard in (one, other)
    ]
    sources[0].close()
    sources[1].warm_up()
    world.settle()
    assert not one
    assert other
