"""What is checked while a world runs: the laws after every step, and the server's own truth at every arrival.

The laws are those of ``_laws``. Beside them stands what only the server knows: whether a token was good when it
arrived, how often it was asked. And since a run in which nothing happened proves nothing, the situations that came
about are counted; a swarm fails if one of :data:`SITUATIONS` never did.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import NamedTuple

from evertoken._actions import Rejection, SendReason, WaitReason
from evertoken._inputs import AnswerReceived, Input, RequestClaimed
from evertoken._policy import Policy
from evertoken._records import BlockKind
from evertoken._states import State
from evertoken.outcomes import (
    Abandoned,
    Failed,
    Granted,
    Ignored,
    Locked,
    Malformed,
    RateLimited,
    Refused,
    Stale,
    Unclear,
)
from evertoken.testing._arrivals import TokenTruth
from evertoken.testing._laws import broken_by, broken_in

__all__ = ("SITUATIONS", "Broken", "BudgetCheck", "Checks", "LawBroken")

_OUTCOMES = (Abandoned, Failed, Granted, Ignored, Locked, Malformed, RateLimited, Refused, Stale, Unclear)

LATE_GRANT = "a late token was taken"
DEAD = "a token was dead on arrival"
BEHIND_DOOR = "a live token was used behind a closed door"
REPLAYED = "a call was repeated and succeeded"
GAVE_UP = "a caller gave up"
RECOVERED = "a token came after faults had ended"

SITUATIONS: tuple[str, ...] = (
    *(f"outcome: {kind.__name__}" for kind in _OUTCOMES),
    *(f"wait: {reason.value}" for reason in WaitReason),
    *(f"send: {reason.value}" for reason in SendReason),
    *(f"rejection: {verdict.value}" for verdict in Rejection),
    *(f"block: {kind.value}" for kind in BlockKind),
    *(f"truth: {truth.value}" for truth in (TokenTruth.VALID, TokenTruth.EXPIRED, TokenTruth.REVOKED)),
    LATE_GRANT,
    DEAD,
    BEHIND_DOOR,
    REPLAYED,
    GAVE_UP,
    RECOVERED,
)
"""What has to come about somewhere in a swarm, or the swarm was not hostile enough."""


class Broken(NamedTuple):
    """A law that a run broke, the client in question, and the moment on the world's clock, in seconds."""

    law: str
    client: int
    now: float


class LawBroken(Exception):
    """Raised at the first broken law: everything after it would be noise."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(f"{broken.law} (client {broken.client}, at {broken.now})")
        self.broken = broken


class Checks:
    """The checks of one run, and what it has come across."""

    __slots__ = ("now", "seen", "steps")

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.steps = 0
        self.now = 0.0

    def fail(self, client: int, law: str) -> None:
        """Stop the run: ``client`` has broken ``law``."""
        raise LawBroken(Broken(law, client, self.now))

    def step(self, client: int, policy: Policy, before: State, happened: Input, after: State) -> None:
        """Hold one step of a machine to the laws."""
        self.steps += 1
        for law in broken_by(policy, before, happened, after):
            self.fail(client, law)
        for law in broken_in(policy, after, after.now):
            self.fail(client, law)
        if len(after.blocks) > len(before.blocks):
            self.seen.update(f"block: {block.kind.value}" for block in after.blocks)
        late = isinstance(happened, AnswerReceived) and (before.attempt is None or before.attempt.id != happened.id)
        if late and after.token is not before.token:
            self.seen[LATE_GRANT] += 1

    def arrival(self, client: int, truth: TokenTruth | None, *, grace: float) -> None:
        """Hold the arrival of an API call to the truth.

        ``grace`` is what was left, in seconds, of the token's leeway when clock faults and the way of the call are
        taken off. While it is not negative, no token may have expired.
        """
        if truth is None or truth is TokenTruth.UNKNOWN:
            self.fail(client, "no call carries a token that was never issued")
        elif truth is TokenTruth.EXPIRED and grace >= 0.0:
            self.fail(client, f"no call carries an expired token: {grace} s of the leeway were left")
        self.seen[f"truth: {'' if truth is None else truth.value}"] += 1


class BudgetCheck:
    """The budget as a bystander counts it: in no window more exchanges than the burst and the refills in it."""

    __slots__ = ("_burst", "_interval", "_starts")

    def __init__(self, policy: Policy, lifetime: float) -> None:
        shortest = min(policy.budget_interval, max(policy.budget_interval_floor, lifetime / 2))
        self._burst = policy.budget_burst
        self._interval = shortest - 2.0**-10  # Durations are rounded down to ticks.
        self._starts: deque[float] = deque(maxlen=2 * policy.budget_burst + 4)

    def moved(self, seconds: float) -> None:
        """The clock of the machine has been set forward by this much: by a restart, on another clock."""
        self._starts = deque((start + seconds for start in self._starts), maxlen=self._starts.maxlen)

    def within(self, happened: Input) -> bool:
        """Count ``happened`` if it starts an exchange; False if that is one too many for some window."""
        if not isinstance(happened, RequestClaimed):
            return True
        now = happened.now
        self._starts.append(now)
        count = len(self._starts)
        return all(
            count - index <= self._burst + math.ceil((now - start) / self._interval)
            for index, start in enumerate(self._starts)
        )
