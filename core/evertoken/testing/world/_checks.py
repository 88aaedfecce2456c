"""What is checked while a world runs: the laws after every step, and the server's own truth at every arrival.

The laws are those of ``evertoken.testing.laws``. Beside them stands what only the server knows: whether a token was
good when it arrived, and how often the token endpoint was asked. And since a run in which nothing happened proves
nothing, the situations that came about are counted; a swarm reports which of :data:`SITUATIONS` never did.
"""

from __future__ import annotations

import enum
import math
from collections import Counter, deque
from typing import NamedTuple

from evertoken._grammar import AnswerReceived, Input, Rejection, RequestClaimed, SendReason, WaitReason
from evertoken._policy import Policy
from evertoken._states import BlockKind, RequestState, State
from evertoken.happenings import Happening
from evertoken.outcomes import Outcome
from evertoken.testing._restart import Restart
from evertoken.testing.laws._laws import broken_by
from evertoken.testing.laws._restart_laws import broken_by_restart
from evertoken.testing.laws._state_laws import broken_in
from evertoken.testing.server._arrivals import TokenTruth
from evertoken.testing.server._faults import ApiFault, TokenFault
from evertoken.testing.world._bystanders import DrawCheck, FairCheck, FlightCheck
from evertoken.testing.world._scenario import Scenario, WorldFault

LATE_GRANT = "a late token was taken"
LOST = "an attempt was lost"
DEAD = "a token was dead on arrival"
WHILE_BLOCKED = "a live token was used while the endpoint was blocked"
REPLAYED = "a call was repeated and succeeded"
GAVE_UP = "a caller gave up"
UNSERVED = {
    RequestState.IDLE: "no token: the caller would not wait",
    RequestState.IN_FLIGHT: "no token: the answer took too long",
    RequestState.BACKING_OFF: "no token: between two tries",
    RequestState.BLOCKED: "no token: the endpoint was blocked",
}
"""Why a caller gave up, by what was going on. To give up while there is a token would break a law."""
TOO_SHORT = "no token: more life asked for than tokens have"
RECOVERED = "a token came after faults had ended"
NO_LEEWAY = "a token was taken by a machine without leeway"
FAIR = "a token came in fair weather"
RESTARTED = {True: "a process went on from a snapshot with its token", False: "a process went on without its token"}

_STRUCK: dict[enum.Enum, str] = {
    **{fault: f"fault: {fault.value}" for fault in WorldFault},
    **{fault: f"token endpoint: {fault.value}" for fault in TokenFault},
    **{fault: f"API: {fault.value}" for fault in ApiFault},
}
_ARRIVED = {truth: f"truth: {truth.value}" for truth in TokenTruth}
_VALID_ARRIVED = _ARRIVED[TokenTruth.VALID]
_VALID = TokenTruth.VALID

SITUATIONS: tuple[str, ...] = (
    # A dataclass with slots is made twice, and so listed twice. Only a shared store, which is not here, says Postponed.
    *sorted({f"outcome: {kind.__name__}" for kind in Outcome.__subclasses__() if kind.__name__ != "Postponed"}),
    *(f"wait: {reason.value}" for reason in WaitReason),
    *(f"send: {reason.value}" for reason in SendReason),
    *(f"rejection: {verdict.value}" for verdict in Rejection),
    *(f"block: {kind.value}" for kind in BlockKind),
    *(told for truth, told in _ARRIVED.items() if truth is not TokenTruth.UNKNOWN),
    *(told for fault, told in _STRUCK.items() if fault not in (TokenFault.NONE, ApiFault.NONE)),
    *RESTARTED.values(),
    LATE_GRANT,
    LOST,
    DEAD,
    WHILE_BLOCKED,
    REPLAYED,
    GAVE_UP,
    *UNSERVED.values(),
    TOO_SHORT,
    RECOVERED,
    NO_LEEWAY,
    FAIR,
)
"""What has to come about somewhere in a swarm, or the swarm was not hostile enough. Most are the members of enums, so
that none is forgotten."""


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

    __slots__ = ("_draws", "_fair", "_flights", "now", "seen", "steps")

    def __init__(self, scenario: Scenario | None = None) -> None:
        self.seen: Counter[str] = Counter()
        self.steps = 0
        self.now = 0.0
        self._flights = FlightCheck()
        self._draws = DrawCheck()
        self._fair = None if scenario is None or scenario.faults else FairCheck(scenario)

    def fail(self, client: int, law: str) -> None:
        """Stop the run: ``client`` has broken ``law``."""
        raise LawBroken(Broken(law, client, self.now))

    def step(
        self,
        client: int,
        policy: Policy,
        before: State,
        happened: Input,
        after: State,
        *,
        told: tuple[Happening, ...] | None = None,
    ) -> None:
        """Hold one step of a machine to the laws."""
        self.steps += 1
        broken = broken_by(policy, before, happened, after, told) or broken_in(policy, after, after.now)
        if broken:
            self.fail(client, broken[0])
        if not self._flights.step(client, policy, happened, after):
            self.fail(client, "at most one request is in flight")
        if isinstance(happened, AnswerReceived):
            if not self._draws.answer(policy, before, happened, after):
                self.fail(client, "who was told the same moment does not come back at the same moment")
            if after.token is not before.token:
                self._token_taken(policy, before, happened)
        if self._fair is not None and not self._fair.step(client, self.now, before, happened, after):
            self.fail(client, "in fair weather there is one request for each token, and nobody waits but for the first")
        if before.attempt is not None and after.lost is not None and after.lost.id == before.attempt.id:
            self.seen[LOST] += 1
        if after.blocks is not before.blocks:
            self.seen.update(f"block: {block.kind.value}" for block in after.standing)

    def _token_taken(self, policy: Policy, before: State, received: AnswerReceived) -> None:
        if before.attempt is None or before.attempt.id != received.id or before.attempt.deadline <= received.now:
            self.seen[LATE_GRANT] += 1
        if policy.leeway == 0.0:
            self.seen[NO_LEEWAY] += 1
        if self._fair is not None:
            self.seen[FAIR] += 1

    def restarted(self, client: int, policy: Policy, before: State, restart: Restart | None, after: State) -> None:
        """Hold the beginning of a process to the laws. ``restart`` is None for one that found no snapshot."""
        if restart is None:
            self._flights.crashed(client)
            return
        self._flights.restarted(client, restart)
        for law in broken_by_restart(policy, before, restart, after):
            self.fail(client, law)
        self.seen[RESTARTED[restart.secrets]] += 1

    def struck(self, fault: WorldFault | TokenFault | ApiFault) -> None:
        """A fault has come about."""
        self.seen[_STRUCK[fault]] += 1

    def arrival(self, client: int, truth: TokenTruth | None, *, grace: float) -> None:
        """Hold the arrival of an API call to the truth.

        ``grace`` is what was left, in seconds, of the token's leeway when clock faults and the way of the call are
        taken off. While it is not negative, no token may have expired.
        """
        if truth is _VALID:
            self.seen[_VALID_ARRIVED] += 1
            return
        if truth is None or truth is TokenTruth.UNKNOWN:
            self.fail(client, "no call carries a token that was never issued")
        elif truth is TokenTruth.EXPIRED and grace >= 0.0:
            self.fail(client, f"no call carries an expired token: {grace} s of the leeway were left")
        else:
            self.seen[_ARRIVED[truth]] += 1


class BudgetCheck:
    """The budget as a bystander counts it: in no window more exchanges than the burst and the refills in it."""

    __slots__ = ("_burst", "_interval", "_starts")

    def __init__(self, policy: Policy, lifetime: float) -> None:
        shortest = min(policy.budget_interval, max(policy.budget_interval_floor, lifetime / 2))
        self._burst = policy.budget_burst
        self._interval = shortest - 2.0**-10  # Durations are rounded down to ticks.
        self._starts: deque[float] = deque(maxlen=2 * policy.budget_burst + 4)

    def moved(self, seconds: float) -> None:
        """A restart has put the machine on another clock, which shows ``seconds`` more."""
        self._starts = deque((start + seconds for start in self._starts), maxlen=self._starts.maxlen)

    def within(self, happened: Input) -> bool:
        """Count ``happened`` if it starts an exchange; False if that is one too many for some window."""
        if not isinstance(happened, RequestClaimed):
            return True
        now = happened.now
        self._starts.append(now)
        count = len(self._starts)
        for index, start in enumerate(self._starts):
            if count - index > self._burst + math.ceil((now - start) / self._interval):
                return False
        return True
