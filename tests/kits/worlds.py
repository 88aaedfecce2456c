"""A small world for tests of the adapters: a clock that the test moves, and a token endpoint in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from evertoken import ClientCredentials, HttpResponse, Policy, RequestState, TokenMachine, TokenRequest
from evertoken.testing import Arrival, AuthorizationServer, Route, Script, ServerRequest
from evertoken_transports import Coordinator
from evertoken_transports._coordinator import Waker
from tests.kits import canary

__all__ = ("EPOCH", "LIMIT", "Clock", "Endpoint", "World", "gone", "run_in_threads", "until")

LIMIT = 20.0
"""Real seconds after which a test that waits for a thread gives up. No test comes near it unless something hangs."""


EPOCH = 1_700_000_000.0
"""The Unix time at 0 on the clock of a world."""


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Endpoint:
    """An exchange that asks the model instead of a socket. ``gate`` holds answers back while it is not set."""

    def __init__(self, server: AuthorizationServer, clock: Clock) -> None:
        self._server, self._clock = server, clock
        self._lock = threading.Lock()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, request: TokenRequest) -> HttpResponse:
        path = urlsplit(request.url).path
        with self._lock:
            asked = ServerRequest(request.method, path, request.headers, request.body)
            answer = self._server.handle(self._clock(), asked)
        self.entered.release()
        assert self.gate.wait(LIMIT)
        if answer.response is None:
            raise ConnectionResetError("connection reset by peer")
        return answer.response


class World:
    """One grant, its endpoint, and one coordinator that nobody else shares."""

    def __init__(self, script: Script | None = None, policy: Policy | None = None) -> None:
        self.clock = Clock()
        self.grant: ClientCredentials = canary.grant()
        self.server = AuthorizationServer(
            self.grant.client_id,
            self.grant.client_secret,
            script=Script() if script is None else script,
            token_prefix=canary.TOKEN_MARK,
            start=self.clock.now,
        )
        self.endpoint = Endpoint(self.server, self.clock)
        self.policy = Policy() if policy is None else policy
        self.coordinator = self.new_coordinator()

    def new_coordinator(self) -> Coordinator:
        machine = TokenMachine(self.grant, policy=self.policy, draw=lambda: 0.5)
        return Coordinator(machine, clock=self.clock, wall=lambda: EPOCH + self.clock())

    def advance(self, seconds: float) -> None:
        """Let time pass, and make every caller look at the clock."""
        self.clock.now += seconds
        self.coordinator._wake_all()

    def token_requests(self) -> list[Arrival]:
        return [arrival for arrival in self.server.arrivals if arrival.route is Route.TOKEN]

    def settle(self) -> None:
        """Wait until no request is under way."""
        machine = self.coordinator.machine
        until(lambda: machine.request_state(self.clock()) is not RequestState.IN_FLIGHT)

    def wait_for_waiters(self, count: int) -> None:
        """Wait until ``count`` callers wait for the coordinator."""
        until(lambda: len(self.coordinator._wakers) == count)


def gone(coordinator: Coordinator, waker: Waker) -> None:
    """Let the caller behind ``waker`` go, as one that has given up does."""
    coordinator._departure(waker)()
    coordinator._catch_up()


def until(condition: Callable[[], bool]) -> None:
    """Give other threads their turn until ``condition`` holds; fail after ``LIMIT`` seconds."""
    pause = threading.Event()
    for _ in range(int(LIMIT / 0.001)):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("the condition did not come about")


def run_in_threads(count: int, work: Callable[[int], object]) -> Callable[[], list[object]]:
    """Start ``count`` threads that run ``work(i)``. Returns a function that joins them and gives what came of each."""
    results: list[object] = [None] * count

    def run(index: int) -> None:
        try:
            results[index] = work(index)
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()

    def join() -> list[object]:
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), "a caller is stuck"
        return results

    return join
