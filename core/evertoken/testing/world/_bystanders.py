"""Checks that keep their own count over a whole run, and look only at the inputs and the states of the machines.

The laws of one step would not notice a machine whose draws are always the same, nor a client that keeps its promises
step by step and yet lets callers wait in fair weather. These do.
"""

from __future__ import annotations

from evertoken._grammar import AnswerReceived, Input, RequestClaimed, TokenWorked
from evertoken._policy import TICK, Policy
from evertoken._states import AccessToken, BlockKind, State
from evertoken.outcomes import Blocked, Failed, Malformed
from evertoken.testing._restart import Restart
from evertoken.testing.laws._expected import blocked_until, doubled
from evertoken.testing.world._scenario import Calls, ClientPlan, Scenario


class FlightCheck:
    """Single flight: no request of a client starts while another of it has time left and no outcome."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends: dict[int, tuple[int, float]] = {}

    def step(self, client: int, policy: Policy, happened: Input, after: State) -> bool:
        """Take note of ``happened``; False if it starts a request beside another."""
        if isinstance(happened, RequestClaimed):
            flying = self._ends.get(client)
            self._ends[client] = (after.next_id - 1, after.now + policy.request_timeout - TICK)
            return flying is None or after.now >= flying[1]
        if isinstance(happened, AnswerReceived):
            flying = self._ends.get(client)
            if flying is not None and flying[0] == happened.id:
                del self._ends[client]
        return True

    def crashed(self, client: int) -> None:
        """The process of ``client`` has ended, and nobody is left who could know of its request in flight."""
        self._ends.pop(client, None)

    def restarted(self, client: int, restart: Restart) -> None:
        """The process of ``client`` goes on from a snapshot, and its request in flight ends at another clock's time."""
        if client in self._ends:
            number, end = self._ends[client]
            self._ends[client] = (number, end + restart.now - restart.elapsed - restart.taken_at)


class Spread:
    """Shares in [0, 1) that ought to be drawn evenly. By chance, 40 of them lie within one half in one of 10**10."""

    __slots__ = ("_count", "_least", "_most")

    def __init__(self) -> None:
        self._count = 0
        self._least = 1.0
        self._most = 0.0

    def add(self, share: float) -> bool:
        """Count one more share; False if too many of them have been alike."""
        self._count += 1
        self._least = min(self._least, share)
        self._most = max(self._most, share)
        return self._count < 40 or self.is_wide()

    def is_wide(self) -> bool:
        """Whether two shares were so far apart that further ones can prove nothing."""
        return self._most - self._least >= 0.5


class DrawCheck:
    """Clients that are told one moment do not all act at it: back-offs, refreshes and stated waits are spread out.

    Each of these is measured as the share of its own range, so that all the clients of a run count together.
    """

    __slots__ = ("_refreshes", "_retries", "_waits")

    def __init__(self) -> None:
        self._refreshes = Spread()
        self._retries = Spread()
        self._waits = Spread()

    def answer(self, policy: Policy, before: State, received: AnswerReceived, after: State) -> bool:
        """Take note of an answer; False if the draws of this run have been too much alike."""
        answer = received.answer
        if after.token is not before.token:
            return self._refreshes.is_wide() or self._refresh(policy, after)
        if isinstance(answer, Failed | Malformed):
            return self._retries.is_wide() or self._retry(policy, before, answer, after)
        if isinstance(answer, Blocked) and answer.kind is BlockKind.RATE_LIMITED and answer.retry_after is not None:
            return self._wait(policy, before, answer.retry_after, after)
        return True

    def _refresh(self, policy: Policy, state: State) -> bool:
        token = state.token
        if token is None:
            return True
        life = token.expires_at - token.started
        most = policy.refresh_jitter_share * life
        latest = token.expires_at - min(policy.refresh_before, policy.refresh_before_share * life)
        halfway = state.now + (token.fresh_until - state.now) / 2
        if most < 1.0 or latest - most <= halfway or latest >= token.fresh_until:
            return True  # The range is too small to see a spread, or other rules decide as well.
        return self._refreshes.add((latest - token.refresh_at) / most)

    def _retry(self, policy: Policy, before: State, answer: Failed | Malformed, after: State) -> bool:
        failures, malformed = after.backoff.failures, after.backoff.malformed
        stated = isinstance(answer, Failed) and answer.retry_after is not None
        if failures == before.backoff.failures or malformed or stated or after.backoff.retry_at <= after.now:
            return True
        half = doubled(policy.retry_base, policy.retry_cap, failures - 1) / 2
        return half < 1.0 or self._retries.add((after.backoff.retry_at - after.now - half) / half)

    def _wait(self, policy: Policy, before: State, seconds: float, after: State) -> bool:
        seconds = min(seconds, policy.rate_limited_wait_cap)
        most = min(policy.wait_spread, policy.wait_spread_share * seconds)
        until = blocked_until(after, BlockKind.RATE_LIMITED)
        if most < 1.0 or until <= blocked_until(before, BlockKind.RATE_LIMITED) or until > after.now + seconds + most:
            return True
        return self._waits.add((until - after.now - seconds) / most)


class FairCheck:
    """The first two promises in fair weather: nobody waits but for the first token, and each token costs one request.

    Made for a scenario without faults. It judges only clients who call steadily, and tokens whose refresh falls due
    early enough for such callers and for the way there and back.
    """

    __slots__ = ("_ends", "_plans", "_promised", "_way")

    def __init__(self, scenario: Scenario) -> None:
        self._ends = scenario.seconds
        self._way = 2 * scenario.latency[1]
        self._plans = scenario.clients
        self._promised = [
            plan.calls is Calls.STEADY
            and not plan.min_ttl
            and self._way < plan.policy.request_timeout
            and scenario.lifetime >= 60
            for plan in scenario.clients
        ]

    def step(self, client: int, now: float, before: State, happened: Input, after: State) -> bool:
        """Take note of a step at ``now``, on the clock of the world; False if a promise was broken by it."""
        if not self._promised[client] or now >= self._ends or isinstance(happened, TokenWorked):
            return True
        token = before.token
        if token is not None and not self._is_in_time(self._plans[client], token):
            return True
        if isinstance(happened, RequestClaimed):
            return token is None or after.now < token.fresh_until
        return after.token is not token and (token is None or after.now < token.fresh_until)

    def _is_in_time(self, plan: ClientPlan, token: AccessToken) -> bool:
        """Whether a caller and an answer come between refresh and expiry, and a refill of the budget before that."""
        policy, life = plan.policy, token.expires_at - token.started
        refill = min(policy.budget_interval, max(policy.budget_interval_floor, life / 2))
        longest = 1.5 * plan.period * (1 + abs(plan.drift)) + self._way + 1.0
        return token.fresh_until - token.refresh_at > longest and token.refresh_at - token.started >= refill
