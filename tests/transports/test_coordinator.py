"""Coordinator: what it tells, whom it wakes, and what it survives."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from evertoken import (
    AuthenticationParts,
    BlockKind,
    Challenge,
    ClientCredentials,
    GiveUp,
    HttpResponse,
    Ignored,
    Outcome,
    Problem,
    Ready,
    TokenEndpoint,
    TokenMachine,
    TokenRequest,
    TokenUnavailable,
    Wait,
    WaitReason,
)
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import (
    CallFailed,
    CallWaited,
    Coordinator,
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
from evertoken_transports._carrier import carry
from evertoken_transports._coordinator import Subscriber
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.worlds import LIMIT, World, gone, run_in_threads, until

LOCKED = TokenBehaviour(fault=TokenFault.LOCKED)
ERROR_500 = TokenBehaviour(fault=TokenFault.SERVER_ERROR, status=500)


@pytest.fixture
def world() -> World:
    return World()


class Ear:
    """Listens, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)

    @property
    def kinds(self) -> list[type]:
        return [type(event) for event in self.heard]


def source_of(world: World, ear: Ear) -> TokenSource:
    return TokenSource(
        world.grant, coordinator=world.coordinator, exchange=world.endpoint, background=False, on_event=ear
    )


# Events
# ------


def test_a_life_is_told_in_events_without_a_secret(world: World) -> None:
    ear = Ear()
    source = source_of(world, ear)
    world.server.next_token_requests(ERROR_500)
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0)
    world.advance(0)
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0.5)
    world.advance(2)
    header = source.authorization()
    source.token_rejected(header, Challenge.TOKEN)
    source.token_rejected(header, Challenge.TOKEN)
    world.server.next_token_requests(LOCKED)
    with pytest.raises(TokenUnavailable):
        source.authorization()
    source.replace_credentials(world.grant.with_secret(canary.secret(1)))
    assert ear.kinds == [
        CallFailed,
        RequestStarted,
        RequestFailed,
        RequestEnded,
        CallFailed,
        RequestStarted,
        TokenGranted,
        RequestEnded,
        CallWaited,
        TokenDropped,
        TokenKept,
        RequestStarted,
        EndpointBlocked,
        RequestEnded,
        CallFailed,
        EndpointUnblocked,
        CredentialsReplaced,
    ]
    for event in ear.heard:
        canary.assert_clean(event)
        assert world.grant.client_id in str(event)


def test_an_attempt_for_which_the_endpoint_was_not_asked_says_so(world: World) -> None:
    ear = Ear()
    source = source_of(world, ear)
    ends: list[Callable[[TokenRequest], object]] = [
        lambda request: world.coordinator.request_postponed(request, world.clock()),
        lambda request: world.coordinator.secret_failed(request, "the vault is sealed"),
        lambda request: world.coordinator.send_failed(request, "reset"),
    ]
    for end in ends:
        _, request = world.coordinator._claim_or_wait(print)
        assert request is not None
        end(request)
        world.advance(60)
    ended = [(event.outcome, event.asked) for event in ear.heard if isinstance(event, RequestEnded)]
    assert ended == [("postponed", False), ("failed", False), ("failed", True)]
    assert source.authorization()


def test_an_abandoned_request_is_told(world: World) -> None:
    ear = Ear()
    source = source_of(world, ear)
    _, request = world.coordinator._claim_or_wait(print)
    assert request is not None
    world.coordinator.request_abandoned(request)
    assert ear.kinds == [RequestStarted, RequestEnded]
    assert source.authorization()


def test_a_block_is_a_warning_and_the_rest_is_not(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="evertoken")
    source = source_of(world, Ear())
    world.server.next_token_requests(LOCKED)
    with pytest.raises(TokenUnavailable):
        source.authorization()
    for _ in range(3):
        source.endpoint_blocked()
    assert [record.levelname for record in caplog.records] == ["DEBUG", "WARNING", "DEBUG", "DEBUG"]
    assert "temporarily locked" in caplog.records[1].getMessage()
    assert caplog.records[1].name == "evertoken"


def test_a_late_failure_is_no_news_while_a_newer_token_is_in_hand(world: World) -> None:
    ear = Ear()
    coordinator = Coordinator(TokenMachine(world.grant, draw=lambda: 0.0), clock=world.clock, on_event=ear)

    def claim() -> TokenRequest:
        _, request = coordinator._claim_or_wait(lambda: None)
        assert request is not None
        coordinator._took(request)
        coordinator._tell_of_claim()
        return request

    first = claim()
    world.clock.now += 12
    second = claim()
    assert ear.kinds == [RequestStarted, RequestFailed, RequestEnded, RequestStarted]
    body = b'{"access_token": "abc", "token_type": "bearer", "expires_in": 3600}'
    coordinator.receive_response(second, HttpResponse(200, (), body))
    ear.heard.clear()
    late = coordinator.receive_response(first, HttpResponse(503, (("Retry-After", "60"),), b""))
    assert late == Ignored()
    assert ear.heard == []


def test_two_sources_with_one_callback_hear_of_an_event_once(world: World) -> None:
    ear = Ear()
    first, second = source_of(world, ear), source_of(world, ear)
    first.warm_up()
    assert ear.kinds == [RequestStarted, TokenGranted, RequestEnded, CallWaited]
    assert second.authorization_nowait()


def test_a_source_that_is_dropped_hears_nothing_more(world: World) -> None:
    ear = Ear()
    source = source_of(world, ear)
    del source
    gc.collect()
    source_of(world, Ear()).warm_up()
    assert ear.heard == []


def test_the_coordinators_own_callback_hears_everything(world: World) -> None:
    ear = Ear()
    coordinator = Coordinator(TokenMachine(world.grant, draw=lambda: 0.5), clock=world.clock, on_event=ear)
    TokenSource(world.grant, coordinator=coordinator, exchange=world.endpoint, background=False).warm_up()
    assert ear.kinds == [RequestStarted, TokenGranted, RequestEnded, CallWaited]


def test_a_callback_that_raises_loses_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def callback(event: Event) -> None:
        raise KeyError(type(event).__name__)

    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint, on_event=callback)
    assert source.authorization()
    assert "on_event raised" in caplog.text


def test_what_an_exchange_raised_is_no_part_of_what_is_logged_of_a_callback(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def exchange(request: TokenRequest) -> HttpResponse:
        raise OSError(f"cannot send {request.headers}")

    def callback(event: Event) -> None:
        raise KeyError(type(event).__name__)

    source = TokenSource(
        world.grant, coordinator=world.coordinator, exchange=exchange, background=False, on_event=callback
    )
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0.1)
    assert "RequestFailed" in caplog.text
    canary.assert_clean(caplog.text)


def test_a_filter_of_the_application_that_raises_costs_nobody_a_token(world: World) -> None:
    def refuse(_: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    logger = logging.getLogger("evertoken")
    logger.addFilter(refuse)
    try:
        assert source_of(world, Ear()).authorization()
    finally:
        logger.removeFilter(refuse)


def test_an_exchange_error_that_cannot_be_printed_is_named(world: World) -> None:
    class Unprintable(OSError):
        def __str__(self) -> str:
            raise ValueError

    def exchange(_: TokenRequest) -> HttpResponse:
        raise Unprintable

    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=exchange, background=False)
    with pytest.raises(TokenUnavailable, match="Unprintable"):
        source.authorization(timeout=0.1)
    assert source.explain().failures == 1


def test_sources_may_come_while_others_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    live_subscribers = world.coordinator._live_subscribers

    def watched() -> list[Subscriber]:
        held.append(world.coordinator._is_inside())
        return live_subscribers()

    monkeypatch.setattr(world.coordinator, "_live_subscribers", watched)
    source = source_of(world, Ear())
    source.warm_up()
    assert held
    assert all(held)


def test_a_callback_that_asks_the_source_does_not_lock_up(world: World) -> None:
    headers: list[str | None] = []

    def callback(event: Event) -> None:
        if isinstance(event, TokenGranted):
            headers.append(source.authorization(timeout=0))

    source = TokenSource(
        world.grant, coordinator=world.coordinator, exchange=world.endpoint, background=False, on_event=callback
    )
    assert source.authorization() == headers[0]


def test_a_callback_that_returns_a_coroutine_is_named_and_loses_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(_: Event) -> None: ...

    def callback(event: Event) -> object:
        return handle(event)

    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint, on_event=callback)
    assert source.authorization()
    assert "plain function" in caplog.text


# Waking
# ------


def test_a_waker_is_called_once_after_the_next_input(world: World) -> None:
    calls: list[int] = []
    now = world.clock()
    answer, request = world.coordinator._claim_or_wait(lambda: calls.append(1), since=now, deadline=now + 10)
    assert request is not None
    assert isinstance(answer, Wait)
    assert answer.reason is WaitReason.RESPONSE
    world.coordinator.send_failed(request, "reset")
    world.coordinator._wake_all()
    assert calls == [1]


def test_the_token_is_there_before_anyone_is_woken(world: World) -> None:
    seen: list[object] = []
    now = world.clock()

    def waker() -> None:
        seen.append(world.coordinator.machine.published[1])

    _, request = world.coordinator._claim_or_wait(waker, since=now, deadline=now + 10)
    assert request is not None
    world.coordinator.receive_response(request, world.endpoint(request))
    assert seen == [world.coordinator.machine.authorization(now)]


def test_a_waiter_whose_loop_is_closed_does_not_stop_the_others(world: World) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    woken: list[str] = []
    now = world.clock()
    ask = world.coordinator._claim_or_wait
    _, request = ask(lambda: loop.call_soon_threadsafe(print), since=now, deadline=now + 10)
    ask(lambda: woken.append("next"), since=now, deadline=now + 10)
    assert request is not None
    world.coordinator.send_failed(request, "reset")
    assert woken == ["next"]


def test_a_caller_who_forgets_is_not_woken(world: World) -> None:
    calls: list[int] = []

    def waker() -> None:
        calls.append(1)

    now = world.clock()
    world.coordinator._claim_or_wait(waker, since=now, deadline=now + 10)
    gone(world.coordinator, waker)
    gone(world.coordinator, waker)
    world.coordinator._wake_all()
    assert calls == []


def test_a_caller_that_is_collected_in_the_midst_of_a_step_is_forgotten_after_it(world: World) -> None:
    now = world.clock()
    _, request = world.coordinator._claim_or_wait(print, since=now, deadline=now + 10)
    assert request is not None
    with world.coordinator._lock:
        gone(world.coordinator, print)
        assert world.coordinator.machine.state_value.attempt is not None
    _, another = world.coordinator._claim_or_wait(str, since=now, deadline=now + 10)
    assert another is not None
    assert another.id == request.id + 1
    assert print not in world.coordinator._wakers


def test_thousands_of_waiters_that_are_collected_in_one_step_are_forgotten_after_it(world: World) -> None:
    others = [World().coordinator for _ in range(2_000)]
    with world.coordinator._lock:
        for each in others:
            gone(world.coordinator, object)
            gone(each, object)
    world.coordinator._catch_up()
    assert not any(each._late for each in (world.coordinator, *others))


def test_a_carrier_that_is_collected_in_the_midst_of_a_step_gives_up_after_it(world: World) -> None:
    _, request = world.coordinator._claim_or_wait(print)
    assert request is not None
    with world.coordinator._lock:
        world.coordinator.request_abandoned(request)
        assert world.coordinator.explain().attempt_deadline is not None
    world.coordinator._catch_up()
    assert world.coordinator.explain().attempt_deadline is None


def test_a_claim_that_was_given_back_is_not_sent(world: World) -> None:
    _, request = world.coordinator._claim_or_wait(print)
    assert request is not None
    gone(world.coordinator, print)
    carry(world.coordinator, world.endpoint, request)
    assert world.token_requests() == []
    assert source_of(world, Ear()).authorization()


# A client authentication that breaks
# -----------------------------------


class Broken:
    """A client authentication whose key is not to be had."""

    def __init__(self) -> None:
        self.works = False

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        if not self.works:
            raise OSError(f"cannot read {canary.secret()}")
        return AuthenticationParts(form=(("client_assertion", canary.secret()),))


def test_a_broken_client_authentication_is_named_and_hurts_nobody_who_has_a_token(world: World) -> None:
    plug = Broken()
    grant = ClientCredentials(TokenEndpoint("https://auth.example/token", plug), "client")
    coordinator = Coordinator(TokenMachine(grant, draw=lambda: 0.5), clock=world.clock)
    now = world.clock()
    with pytest.raises(TokenUnavailable, match="client authentication raised OSError") as caught:
        TokenSource(grant, coordinator=coordinator, exchange=world.endpoint).authorization()
    canary.assert_clean(caught.value)
    plug.works = True
    answer, request = coordinator._claim_or_wait(print, since=now, deadline=now + 10)
    assert request is not None
    body = f'{{"access_token":"{canary.token()}","token_type":"bearer","expires_in":1200}}'.encode()
    coordinator.receive_response(request, HttpResponse(200, (), body))
    plug.works = False
    world.clock.now += 1_180
    answer, request = coordinator._claim_or_wait(print, since=now, deadline=now + 10)
    assert isinstance(answer, Ready)
    assert request is None
    again, request = coordinator._claim_or_wait(print)
    assert again == answer
    assert answer.authorization == f"Bearer {canary.token()}"
    assert request is None


def test_a_callback_may_wait_after_a_request_that_could_not_be_built(world: World) -> None:
    grant = ClientCredentials(TokenEndpoint("https://auth.example/token", Broken()), "client")
    answers: list[object] = []

    def waiting(event: Event) -> None:
        if isinstance(event, EndpointBlocked):
            now = world.clock()
            answers.append(coordinator._claim_or_wait(str, since=now, deadline=now + 60)[0])

    coordinator = Coordinator(TokenMachine(grant, draw=lambda: 0.5), clock=world.clock, on_event=waiting)
    answer, _ = coordinator._claim_or_wait(print, since=0.0, deadline=world.clock() + 60)
    assert isinstance(answer, GiveUp)
    coordinator.endpoint_blocked(BlockKind.RATE_LIMITED, 5)
    assert [type(answer) for answer in answers] == [Wait]


def test_next_deadline_is_now_when_a_request_is_due_and_the_wait_when_not(world: World) -> None:
    assert world.coordinator.next_deadline() == world.clock()
    source_of(world, Ear()).warm_up()
    assert world.coordinator.next_deadline() == world.clock() + 1_158
    world.coordinator.endpoint_blocked(BlockKind.LOCKED)
    assert world.coordinator.next_deadline() == world.clock() + 1_158


def test_what_is_printed_names_client_and_endpoint_and_no_secret(world: World) -> None:
    world.server.replace_script(Script(token=ERROR_500))
    source = source_of(world, Ear())
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0.1)
    for thing in (source, world.coordinator, source.explain(), Problem):
        canary.assert_clean(thing)
    assert world.grant.client_id in repr(source)


class Reader(TokenMachine):
    """Takes its time to read an answer: until somebody else has asked the coordinator for something."""

    meanwhile: Callable[[], object]

    def read_response(self, request: TokenRequest, response: HttpResponse) -> Outcome:
        self._look_up()
        return super().read_response(request, response)

    def read_failure(self, request: TokenRequest, reason: str, *, is_bug: bool = False) -> Outcome:
        self._look_up()
        return super().read_failure(request, reason, is_bug=is_bug)

    def _look_up(self) -> None:
        other = threading.Thread(target=self.meanwhile, daemon=True)
        other.start()
        other.join(LIMIT)
        assert not other.is_alive()


def test_nobody_waits_while_an_answer_is_read(world: World) -> None:
    for answer in (HttpResponse(500, (), b'{"error": "x"}'), "no route"):
        machine = Reader(world.grant, draw=lambda: 0.5)
        coordinator = Coordinator(machine, clock=world.clock)
        machine.meanwhile = coordinator.explain
        _, request = coordinator._claim_or_wait(print)
        assert request is not None
        if isinstance(answer, str):
            coordinator.send_failed(request, answer)
        else:
            coordinator.receive_response(request, answer)
        assert coordinator.explain().failures == 1


class WatchedLock:
    """The lock of a coordinator, which tells when somebody has to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.waited_for = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.waited_for.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _is_owned(self) -> bool:
        return bool(cast("Any", self._lock)._is_owned())


def test_a_step_waits_until_that_of_another_thread_is_over(world: World) -> None:
    drawing, gate, lock = list[int](), threading.Event(), WatchedLock()

    def draw() -> float:
        drawing.append(threading.get_ident())
        assert gate.wait(LIMIT)
        return 0.5

    coordinator = Coordinator(TokenMachine(world.grant, draw=draw), clock=world.clock)
    coordinator._lock = cast("Any", lock)
    join = run_in_threads(2, lambda _: coordinator._claim_or_wait(print)[1])
    until(lambda: lock.waited_for.is_set() or len(drawing) > 1)
    gate.set()
    assert sum(request is not None for request in join()) == 1
    assert len(drawing) == 1
