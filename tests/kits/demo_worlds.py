"""The demo in virtual time: its story, its callers and one TokenMachine, without a socket, a thread or a wait."""

from __future__ import annotations

import heapq
import itertools
import random
import sys
from collections.abc import Callable, Sequence

from evertoken import (
    GiveUp,
    HttpResponse,
    Ready,
    Rejection,
    SendRequest,
    TokenMachine,
    TokenRequest,
    next_move,
    read_challenge,
)
from evertoken.testing import Arrival, AuthorizationServer, ServerAnswer, ServerRequest
from evertoken_transports.tools._demo.story import Story
from tests.kits import canary

__all__ = ("interruptible", "simulated")

PAUSE, PAUSE_AFTER_FAILURE = 0.08, 0.25


def simulated(story: Story, seed: int, slowness: float) -> Sequence[Arrival]:
    """The log of an honest run. Every hop takes a drawn time, ``slowness`` seconds on average."""
    simulation = _Simulation(story, seed, slowness)
    simulation.run()
    return tuple(simulation.server.arrivals)


class _Simulation:
    def __init__(self, story: Story, seed: int, slowness: float) -> None:
        self.story = story
        self.random = random.Random(seed)
        self.slowness = slowness
        self.server = AuthorizationServer(
            "canary", canary.secret(), script=story.script, seed=seed, token_prefix=canary.TOKEN_MARK
        )
        grant = self.server.grant("http://127.0.0.1:1")
        self.machine = TokenMachine(grant, policy=story.policy, draw=self.random.random)
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.waiting: dict[_Caller, None] = {}

    def run(self) -> None:
        for number in range(self.story.threads):
            caller = _Caller(self, number)
            self.after(self.hop(), caller.call)
        while self.events:
            self.now, _, act = heapq.heappop(self.events)
            act()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), act))

    def hop(self) -> float:
        return self.random.expovariate(1 / self.slowness)

    def ask(self, request: ServerRequest, then: Callable[[HttpResponse], None]) -> None:
        def arrive() -> None:
            answer: ServerAnswer = self.server.handle(self.now, request)
            response = answer.response
            assert response is not None
            self.after(answer.delay + self.hop(), lambda: then(response))

        self.after(self.hop(), arrive)

    def carry(self, request: TokenRequest) -> None:
        def receive(response: HttpResponse) -> None:
            self.machine.receive_response(self.now, request, response)
            self.wake()

        path = request.url.removeprefix("http://127.0.0.1:1")
        self.ask(ServerRequest(request.method, path, request.headers, request.body), receive)

    def wake(self) -> None:
        waiting, self.waiting = list(self.waiting), {}
        for caller in waiting:
            self.after(0.0, caller.ask_again)


class _Caller:
    def __init__(self, simulation: _Simulation, number: int) -> None:
        self.simulation = simulation
        self.number = number
        self.calls = 0
        self.since = 0.0
        self.then: Callable[[str | None], None] = lambda _: None
        self.is_asking = False

    def call(self) -> None:
        if self.simulation.now < self.simulation.story.seconds:
            name = f"{self.number}-{self.calls}"
            self.calls += 1
            self.sign(lambda header: self.send(name, header, is_last=False))

    def sign(self, then: Callable[[str | None], None]) -> None:
        self.since, self.then, self.is_asking = self.simulation.now, then, True
        self.ask_again()

    def ask_again(self) -> None:
        if not self.is_asking:
            return
        simulation, machine, now = self.simulation, self.simulation.machine, self.simulation.now
        move = next_move(machine, now, since=self.since, deadline=self.since + simulation.story.patience)
        if isinstance(machine.poll(now), SendRequest) and isinstance(move, Ready | SendRequest):
            simulation.carry(machine.start_request(now))
        if isinstance(move, Ready | GiveUp):
            self.is_asking = False
            self.then(move.authorization if isinstance(move, Ready) else None)
            return
        simulation.waiting[self] = None
        if not isinstance(move, SendRequest):
            simulation.after(move.until - now, self.ask_again)

    def send(self, name: str, header: str | None, *, is_last: bool) -> None:
        if header is None:
            self.simulation.after(PAUSE_AFTER_FAILURE, self.call)
            return

        def receive(response: HttpResponse) -> None:
            if response.status == 401:
                challenge = read_challenge(response.status, response.headers, response.body)
                verdict = self.simulation.machine.token_rejected(self.simulation.now, header, challenge)
                self.simulation.wake()
                if verdict is not Rejection.KEPT and not is_last:
                    self.sign(lambda another: self.send(name, another, is_last=True))
                    return
            self.simulation.after(PAUSE + self.simulation.hop(), self.call)

        headers = (("Authorization", header), ("X-Request-Id", name))
        self.simulation.ask(ServerRequest("GET", "/v2.01/canary/users", headers), receive)


_RESTORED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


def interruptible(*arguments: str) -> list[str]:
    """The command line of ``evertoken`` as a terminal would run it.

    It sets the handling of interrupts back, since a suite that runs in the background ignores them, and so would its
    children.
    """
    return [sys.executable, "-c", _RESTORED, sys.executable, "-m", "evertoken_transports.tools.cli", *arguments]
