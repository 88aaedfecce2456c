"""What a simulated source is held to, and what came about in its run."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, deque

from evertoken import Policy, TokenMachine, TokenRequest
from evertoken.testing import Arrival, Route, TokenTruth, broken_in
from evertoken_transports._clock import Clock

_ROUNDING = 1e-3
"""Seconds by which a wait may be longer than was asked for: timers and durations are rounded."""


class Checks:
    """The verdict on one run: the first law that was broken, with its moment; and a digest of the whole course."""

    def __init__(self, clock: Clock, policy: Policy, interval: float) -> None:
        self.broken: str | None = None
        self.seen: Counter[str] = Counter()
        self._clock = clock
        self._policy = policy
        self._interval = interval
        self._digest = hashlib.sha256()
        self._starts: deque[float] = deque(maxlen=2 * policy.budget_burst + 4)
        self._in_flight: list[TokenRequest] = []
        self._slept_at = -math.inf

    def fail(self, law: str) -> None:
        """Note that ``law`` is broken. Only the first counts, since it may be the cause of all that come after it."""
        if self.broken is None:
            self.broken = f"{law} (at {self._clock():.3f} s)"

    def note(self, happened: object) -> None:
        """Add to the digest what happened now. Its text must follow from the seed alone, and hold no secret."""
        self._digest.update(f"{self._clock():.6f} {happened}\n".encode())

    def saw(self, situation: str) -> None:
        """Count that ``situation`` came about, and note it."""
        self.seen[situation] += 1
        self.note(situation)

    def digest(self) -> str:
        """SHA-256 of the course so far."""
        return self._digest.hexdigest()

    # What is held to what
    # --------------------

    def state(self, machine: TokenMachine) -> None:
        """Hold the state of ``machine`` to the laws of a state."""
        now = self._clock()
        for law in broken_in(machine.policy, machine.state_value, max(now, machine.state_value.now)):
            self.fail(law)

    def _departure(self, request: TokenRequest) -> None:
        """Note that ``request`` is sent, and hold it to being the only one in flight and within the budget."""
        now = self._clock()
        if any(now < other.deadline for other in self._in_flight):
            self.fail("at most one token request is in flight before its deadline")
        self._in_flight.append(request)
        self._starts.append(now)
        count = len(self._starts)
        for index, start in enumerate(self._starts):
            if count - index > self._policy.budget_burst + math.ceil((now - start) / self._interval):
                self.fail("exchanges in any window are at most the burst and the refills in it")

    def end(self, request: TokenRequest) -> None:
        """Note that ``request`` is not in flight any more."""
        if request in self._in_flight:
            self._in_flight.remove(request)

    def restart(self) -> None:
        """Note that a new process begins: its budget is full, and requests of the old one are not its own."""
        self._starts.clear()
        self._in_flight.clear()

    def suspend(self) -> None:
        """Note that the machine has slept until now: a token may have expired since it was handed out for a call."""
        self._slept_at = self._clock()

    def arrival(self, arrival: Arrival) -> None:
        """Hold an API call that has arrived to carrying a token that was issued and has not expired."""
        if arrival.route is not Route.API:
            return
        truth = arrival.token_truth
        self.saw(f"truth: {'none' if truth is None else truth.value}")
        if truth is None or truth is TokenTruth.UNKNOWN:
            self.fail("no call carries a token that was never issued")
        elif truth is TokenTruth.EXPIRED and arrival.now != self._slept_at:
            self.fail("no call carries an expired token")

    def wait(self, seconds: float, allowed: float) -> None:
        """Hold the ``seconds`` that a caller waited, without those in which the machine slept, to ``allowed``."""
        if seconds > allowed + _ROUNDING:
            self.fail(f"no caller waits longer than it can: {seconds:.3f} s instead of {allowed:.3f} s")


def shortest_interval(policy: Policy, lifetime: float) -> float:
    """Seconds in which the budget is refilled by one, at the fastest. One tick is taken off for rounding."""
    return min(policy.budget_interval, max(policy.budget_interval_floor, lifetime / 2)) - 2.0**-10
