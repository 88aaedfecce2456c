"""What interrupts a step of the coordinator: destructors, dropped generators, asynchronous exceptions."""

from __future__ import annotations

import ctypes
import gc
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from evertoken import Challenge, HttpResponse, Policy, Rejection, TokenRequest, TokenUnavailable
from evertoken.testing import ServerRequest
from evertoken_transports import Coordinator, _coordinator
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.worlds import LIMIT, Clock, World, run_in_threads

CALLERS = 6
STRIKES = 30


class Dying:
    """Does its work when it is dropped, wherever that is."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work

    def __del__(self) -> None:
        self._work()


class Dropping(Clock):
    """A clock that drops ``victim`` when it is read in the midst of a step, as the collector may."""

    victim: Dying | None = None
    coordinator: Coordinator

    def __call__(self) -> float:
        if self.victim is not None and self.coordinator._is_inside():
            self.victim = None
        return self.now


class Stage:
    def __init__(self) -> None:
        self.world = World()
        self.clock = Dropping()
        self.world.coordinator.clock = self.clock
        self.clock.coordinator = self.world.coordinator
        self.source = source_of(self.world)

    def drop_in_a_step(self, work: Callable[[], object]) -> object:
        """Do ``work`` in a destructor, in the midst of a step; what it returned or raised."""
        came: list[object] = []

        def noted() -> None:
            try:
                came.append(work())
            except Exception as error:  # noqa: BLE001 (the test looks at it)
                came.append(error)

        self.clock.victim = Dying(noted)
        self.world.coordinator.token_worked("Bearer elsewhere")
        assert self.clock.victim is None
        return came[0]


def source_of(world: World) -> TokenSource:
    return TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint, background=False)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def without_collector() -> Iterator[None]:
    """What the collector calls, such as the callback of a weak reference, would swallow a strike, and tell nobody."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("whose", ["the same", "another"])
def test_a_destructor_in_the_midst_of_a_step_is_told_that_it_cannot_wait_there(stage: Stage, whose: str) -> None:
    source = stage.source if whose == "the same" else source_of(World())
    refused = stage.drop_in_a_step(source.authorization)
    assert isinstance(refused, TokenUnavailable)
    assert "__del__" in str(refused)
    assert stage.drop_in_a_step(source.authorization_nowait) is None
    assert stage.world.token_requests() == []
    assert source.authorization()


@pytest.mark.parametrize("whose", ["the same", "another"])
def test_a_destructor_in_the_midst_of_a_step_gets_the_token_in_hand(stage: Stage, whose: str) -> None:
    source = stage.source if whose == "the same" else source_of(World())
    header = source.authorization()
    stage.clock.now += 1_170
    source._clock = stage.clock
    source._quiet_until = 0.0
    assert stage.drop_in_a_step(source.authorization) == header
    assert stage.drop_in_a_step(source.authorization_nowait) == header
    assert len(stage.world.token_requests()) == (whose == "the same")


def test_what_a_destructor_tells_in_the_midst_of_a_step_counts_after_it(stage: Stage) -> None:
    header = stage.source.authorization()
    stage.clock.now += 400
    assert stage.drop_in_a_step(lambda: stage.source.token_rejected(header, Challenge.TOKEN)) is Rejection.KEPT
    assert stage.source.explain().expires_at is None
    other = World()
    held = source_of(other).authorization()
    other.clock.now += 400
    assert stage.drop_in_a_step(lambda: source_of(other).token_rejected(held, Challenge.TOKEN)) is Rejection.KEPT
    assert other.coordinator.machine.token(other.clock()) is None


def test_a_wrong_word_of_a_destructor_hurts_nobody(stage: Stage) -> None:
    other = canary.grant(client_id="somebody else")
    stage.drop_in_a_step(lambda: stage.source.replace_credentials(other))
    assert stage.source.authorization()


def test_a_destructor_in_a_step_of_one_coordinator_does_not_wait_for_the_lock_of_another(stage: Stage) -> None:
    other = World()
    theirs = source_of(other)
    held, told = threading.Event(), threading.Event()

    def hold() -> None:
        with other.coordinator._lock:
            held.set()
            assert told.wait(LIMIT)

    join = run_in_threads(1, lambda _: hold())
    assert held.wait(LIMIT)

    def work() -> None:
        theirs.token_worked("Bearer x")
        theirs.authorization_nowait()
        source_of(other)
        theirs.close()
        told.set()

    stage.drop_in_a_step(work)
    assert join() == [None]


def test_a_destructor_that_makes_a_source_while_the_same_coordinator_is_made_makes_no_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grant, make = canary.grant(), _coordinator._registry._make
    came: list[Coordinator] = []
    victims = [Dying(lambda: came.append(Coordinator.shared(grant, Policy())))]

    def dropping(*arguments: Any) -> Coordinator:  # noqa: ANN401
        if victims:
            victims.pop()
        return make(*arguments)

    monkeypatch.setattr(_coordinator._registry, "_make", dropping)
    assert came == [Coordinator.shared(grant, Policy())]
    assert Coordinator.shared(grant, Policy()) is came[0]


class Struck(BaseException):
    """What comes from another thread, between any two instructions."""


def strike(thread: threading.Thread) -> None:
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Struck)) == 1


def plain(world: World) -> Callable[[TokenRequest], HttpResponse]:
    """An exchange without a ``Condition``, whose own lock a struck thread may leave held for ever."""
    lock = threading.Lock()

    def exchange(request: TokenRequest) -> HttpResponse:
        with lock:
            asked = ServerRequest(request.method, urlsplit(request.url).path, request.headers, request.body)
            answer = world.server.handle(world.clock(), asked)
        assert answer.response is not None
        return answer.response

    return exchange


@pytest.mark.usefixtures("without_collector")
def test_threads_that_are_struck_anywhere_and_all_at_once_leave_nothing_held(caplog: pytest.LogCaptureFixture) -> None:
    # Nothing is carried beside them: of a thread that is starting, Python 3.11 strikes its child, and waits for that.
    caplog.set_level(logging.CRITICAL, logger="evertoken")  # logging itself does not survive it on Python 3.11.
    world = World()
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=plain(world), background=False)
    asking: list[queue.SimpleQueue[None]] = [queue.SimpleQueue() for _ in range(CALLERS)]

    def ask(index: int) -> None:
        """Ask until struck: each strike finds its caller at work, and none comes later."""
        for _ in range(STRIKES):
            try:
                asking[index].put(None)
                while True:
                    with suppress(TokenUnavailable):
                        source.authorization(timeout=5)
                    world.clock.now += 1_170
            except Struck:
                continue

    threads = [threading.Thread(target=ask, args=(index,), daemon=True) for index in range(CALLERS)]
    for thread in threads:
        thread.start()
    for _ in range(STRIKES):
        for index, thread in enumerate(threads):
            asking[index].get(timeout=LIMIT)
            strike(thread)
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a caller is stuck"
    world.settle()
    assert not world.coordinator._wakers
    assert not world.coordinator._late
    assert not world.coordinator._is_inside()
    world.clock.now += 100_000
    assert source.authorization()
