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
        """A law is broken. Only the first counts: what comes after it is noise."""
        if self.broken is None:
            self.broken = f"{law} (at {self._clock():.3f} s)"

    def note(self, happened: object) -> None:
        """Write a line of the course. It must follow from the seed alone, and hold no secret."""
        self._digest.update(f"{self._clock():.6f} {happened}\n".encode())

    def saw(self, situation: str) -> None:
        """Count that something came about, and note it."""
        self.seen[situation] += 1
        self.note(situation)

    def digest(self) -> str:
        """SHA-256 of the course so far."""
        return self._digest.hexdigest()

    # What is held to what
    # --------------------

    def state(self, machine: TokenMachine) -> None:
        """The laws of one state."""
        now = self._clock()
        for law in broken_in(machine.policy, machine.state_value, max(now, machine.state_value.now)):
            self.fail(law)

    def _departure(self, request: TokenRequest) -> None:
        """A token request is sent: the only one, and within the budget."""
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
        """It has come to its end."""
        if request in self._in_flight:
            self._in_flight.remove(request)

    def restart(self) -> None:
        """A new process: its budget is full, and what the old one has under way is not its own."""
        self._starts.clear()
        self._in_flight.clear()

    def suspend(self) -> None:
        """The machine slept: a token may have expired between the moment it was handed out and the call."""
        self._slept_at = self._clock()

    def arrival(self, arrival: Arrival) -> None:
        """An API call arrived: with a token that was issued, and has not expired."""
        if arrival.route is not Route.API:
            return
        truth = arrival.token_truth
        self.saw(f"truth: {'none' if truth is None else truth.value}")
        if truth is None or truth is TokenTruth.UNKNOWN:
            self.fail("no call carries a token that was never issued")
        elif truth is TokenTruth.EXPIRED and arrival.now != self._slept_at:
            self.fail("no call carries an expired token")

    def wait(self, seconds: float, allowed: float) -> None:
        """A caller waited so long, of the time in which the machine did not sleep."""
        if seconds > allowed + _ROUNDING:
            self.fail(f"no caller waits longer than it can: {seconds:.3f} s instead of {allowed:.3f} s")


def shortest_interval(policy: Policy, lifetime: float) -> float:
    """Seconds in which the budget is refilled by one, at the fastest. Durations are rounded down to ticks."""
    return min(policy.budget_interval, max(policy.budget_interval_floor, lifetime / 2)) - 2.0**-10
